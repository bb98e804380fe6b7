// The forward pass. Everything between the matrix products works on rows, (N, C); `x` is the
// residual stream, and each block hands on its last contribution unadded: the add goes with the
// norm that follows.
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>

#include <tuple>

#include "model/causal_attention.h"
#include "model/checkpointed_layer.h"
#include "model/norm.h"
#include "model/swiglu.h"
#include "model/transformer.h"

namespace temper {

at::Tensor Transformer::weight_as(int index, at::ScalarType dtype) const {
  if (index < 0) return {};
  const at::Tensor& master = weight(index);
  if (cast_ && flat_cast_.scalar_type() == dtype) {
    const int64_t offset = parameters_[static_cast<size_t>(index)].offset;
    return flat_cast_.narrow(0, offset, master.numel()).view(master.sizes());
  }
  return master.to(dtype);  // (shape of the parameter)
}

bool Transformer::trains() const { return flat_gradients_.defined() && at::GradMode::is_enabled(); }

// input (N, in) -> (N, out), in the input's dtype.
at::Tensor Transformer::linear(const at::Tensor& input, int matrix, int bias) const {
  const at::ScalarType compute = input.scalar_type();
  if (!trains()) return at::linear(input, weight_as(matrix, compute), weight_as(bias, compute));
  const at::Tensor master_bias = bias < 0 ? at::Tensor() : weight(bias);  // (out)
  const auto cast = [&](int index) {
    const at::NoGradGuard no_grad;
    return weight_as(index, compute);
  };
  return trained_linear(input, cast(matrix), cast(bias), weight(matrix), master_bias, *sink_);
}

// x (N, C), normed (N, C) = norm1(x) -> the feed-forward layer's contribution (N, C); *sum is x
// with attention's added.
at::Tensor Transformer::block(const LayerPlan& layer, const at::Tensor& x, const at::Tensor& normed,
                              const HeadShape& shape, const RotaryTable::Angles& angles,
                              at::Tensor* sum) const {
  const at::ScalarType compute = x.scalar_type();
  const at::ScalarType wide = at::toOpMathType(compute);
  const at::Tensor qkv = linear(normed, layer.qkv, layer.qkv_bias);  // (N, (H + 2·kv_heads)·D)
  AttentionInput in;
  if (config_.gpt2()) {
    const std::vector<at::Tensor> parts =
        qkv.view({shape.sequences, shape.positions, 3, shape.heads, shape.head_width})
            .unbind(2);  // 3 x (B, S, H, D)
    in = {parts[0].transpose(1, 2), parts[1].transpose(1, 2),
          parts[2].transpose(1, 2)};  // (B, H, S, D)
  } else {
    in = split_heads(qkv, shape, angles, weight_as(layer.query_norm, wide),
                     weight_as(layer.key_norm, wide));  // (B, H, S, D)
  }
  const at::Tensor mixed = causal_attention(in.query, in.key, in.value);  // (B, H, S, D)
  // It lies as (B, S, H, D) already.
  const at::Tensor rows = mixed.transpose(1, 2).reshape({x.size(0), -1});  // (N, H·D)
  const at::Tensor attention = linear(rows, layer.out, layer.out_bias);    // (N, C)

  const AddedNorm middle = add_norm(x, attention, weight_as(layer.norm2, wide),
                                    weight_as(layer.norm2_bias, wide), config_.norm_eps);  // (N, C)
  *sum = middle.sum;
  const at::Tensor up = linear(middle.normed, layer.up, layer.up_bias);  // (N, F), or (N, 2F) gated
  const at::Tensor active = config_.gpt2() ? at::gelu(up, "tanh") : swiglu(up);  // (N, F)
  return linear(active, layer.down, layer.down_bias);                            // (N, C)
}

at::Tensor Transformer::hidden(const at::Tensor& tokens, at::ScalarType compute,
                               const ForwardHooks& hooks) const {
  TORCH_CHECK_VALUE(tokens.dim() == 2 && tokens.scalar_type() == at::kLong && tokens.numel() > 0,
                    "tokens must be a non-empty (sequences, positions) tensor of int64, not ",
                    tokens.sizes(), " of ", c10::toString(tokens.scalar_type()));
  TORCH_CHECK_VALUE(compute == at::kFloat || compute == at::kDouble || compute == at::kBFloat16,
                    "the model does not compute in ", c10::toString(compute),
                    "; choose float32, float64 or bfloat16");
  const int64_t sequences = tokens.size(0);
  const int64_t positions = tokens.size(1);
  TORCH_CHECK_VALUE(
      positions <= config_.positions, "a sequence of ", positions,
      " tokens is longer than the model's ", config_.positions,
      " positions; shorten the sequences (--train.seq) or take a model with more positions");
  const at::ScalarType wide = at::toOpMathType(compute);
  const HeadShape shape = {sequences,        positions,          config_.heads,
                           config_.kv_heads, config_.head_width, config_.norm_eps};
  RotaryTable::Angles angles;
  if (rotary_) angles = rotary_->angles(positions, wide, tokens.device());

  const auto offset_of = [&](int index) { return parameters_[static_cast<size_t>(index)].offset; };
  // Where a layer's weights end, the next one's begin.
  const auto end_of = [&](size_t layer) {
    return offset_of(layer + 1 < plan_.layers.size() ? plan_.layers[layer + 1].norm1
                                                     : plan_.final_norm);
  };
  const auto need = [&](int64_t end) {
    if (hooks.needs) hooks.needs(end);
  };
  need(offset_of(plan_.layers.front().norm1));
  at::Tensor x = trains() ? trained_embedding(weight(plan_.embedding), tokens)
                          : at::embedding(weight(plan_.embedding), tokens);  // (B, S, C)
  if (plan_.positions >= 0) {
    const at::ScalarType sum = at::promote_types(x.scalar_type(), compute);
    x = x.to(sum) + weight_as(plan_.positions, sum).narrow(0, 0, positions);  // (B, S, C)
  }
  x = x.view({sequences * positions, config_.width}).to(compute);  // (N, C)
  at::Tensor delta;
  for (size_t number = 0; number < plan_.layers.size(); ++number) {
    const LayerPlan& layer = plan_.layers[number];
    need(end_of(number));
    const LayerFunction run = [this, &layer, shape, angles, wide](const at::Tensor& into,
                                                                  const at::Tensor& added) {
      const AddedNorm start = add_norm(into, added, weight_as(layer.norm1, wide),
                                       weight_as(layer.norm1_bias, wide), config_.norm_eps);
      at::Tensor sum;                                                                      // (N, C)
      const at::Tensor next = block(layer, start.sum, start.normed, shape, angles, &sum);  // (N, C)
      return LayerState{sum, next};
    };
    std::tie(x, delta) = trains() && checkpoints_ ? checkpointed(run, x, delta) : run(x, delta);
    if (hooks.between) hooks.between();
    if (!delta.requires_grad() || (!hooks.between && !hooks.final_from)) continue;
    // Called when the backward pass has been through all that follows this layer.
    delta.register_hook([between = hooks.between, final_from = hooks.final_from,
                         end = end_of(number)](const at::Tensor&) {
      if (between) between();
      if (final_from) final_from(end);
    });
  }
  need(flat_weights_.numel());
  const AddedNorm end = add_norm(x, delta, weight_as(plan_.final_norm, wide),
                                 weight_as(plan_.final_norm_bias, wide), config_.norm_eps);
  return end.normed.view({sequences, positions, config_.width});  // (B, S, C)
}

}  // namespace temper
