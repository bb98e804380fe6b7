#include "model/decoder.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>

#include "model/norm.h"
#include "model/swiglu.h"

namespace temper {

// What the layers of one call share.
struct Decoder::Pass {
  HeadShape shape;
  int64_t past = 0;            // columns that were in the cache before
  RotaryTable::Angles angles;  // (S, D/2), or (B, S, D/2) where rows are padded; RoPE only
  at::Tensor mask;  // (B, 1, S, T) or (1, 1, S, T) bool: may attend; undefined: see causal
  bool causal = false;
};

Decoder::Decoder(const Transformer& model, at::ScalarType compute)
    : config_(model.config()),
      plan_(model.plan()),
      rotary_(model.rotary()),
      device_(model.flat_weights().device()),
      compute_(compute),
      weights_(model.parameters().size()),
      matrices_(model.parameters().size()) {
  TORCH_CHECK_VALUE(compute == at::kFloat || compute == at::kDouble || compute == at::kBFloat16,
                    "the model does not compute in ", c10::toString(compute),
                    "; choose float32, float64 or bfloat16");
  const at::NoGradGuard no_grad;
  const auto value = [&](int index, at::ScalarType dtype) {
    return index < 0 ? at::Tensor()
                     : model.parameters()[static_cast<size_t>(index)].value.detach().to(
                           dtype);  // (shape of the parameter)
  };
  const auto keep = [&](std::initializer_list<int> indices, at::ScalarType dtype) {
    for (const int index : indices) {
      if (index >= 0) weights_[static_cast<size_t>(index)] = value(index, dtype);
    }
  };
  const auto pack = [&](int index, int bias) {
    matrices_[static_cast<size_t>(index)] = {value(index, compute), value(bias, compute)};
  };
  const at::ScalarType wide = at::toOpMathType(compute);
  keep({plan_.embedding, plan_.positions}, compute);
  for (const LayerPlan& layer : plan_.layers) {
    keep({layer.norm1, layer.norm1_bias, layer.norm2, layer.norm2_bias, layer.query_norm,
          layer.key_norm},
         wide);
    pack(layer.qkv, layer.qkv_bias);
    pack(layer.out, layer.out_bias);
    pack(layer.up, layer.up_bias);
    pack(layer.down, layer.down_bias);
  }
  keep({plan_.final_norm, plan_.final_norm_bias}, wide);
  pack(plan_.head, -1);
}

const at::Tensor& Decoder::weight(int index) const {
  static const at::Tensor none;
  return index < 0 ? none : weights_[static_cast<size_t>(index)];
}

KvCache Decoder::make_cache(std::vector<int64_t> padding, int64_t capacity) const {
  return {config(), std::move(padding), capacity, compute_, device()};
}

at::Tensor Decoder::block(size_t layer, const at::Tensor& x, const at::Tensor& normed,
                          const Pass& pass, KvCache& cache, at::Tensor* sum) const {
  const LayerPlan& plan = plan_.layers[layer];
  const HeadShape& shape = pass.shape;
  const auto number = static_cast<int64_t>(layer);
  const at::Tensor qkv = matrix(plan.qkv)(normed);  // (N, (H + 2·kv_heads)·D)
  const AttentionInput in = split_heads(qkv, shape, pass.angles, weight(plan.query_norm),
                                        weight(plan.key_norm), /*repeat=*/false);
  cache.keys(number, pass.past).copy_(in.key);      // (B, kv_heads, S, D)
  cache.values(number, pass.past).copy_(in.value);  // (B, kv_heads, S, D)
  const std::optional<at::Tensor> mask =
      pass.mask.defined() ? std::make_optional(pass.mask) : std::nullopt;
  const at::Tensor mixed = at::scaled_dot_product_attention(
      in.query, cache.keys(number), cache.values(number), mask, /*dropout_p=*/0.0, pass.causal,
      /*scale=*/std::nullopt, /*enable_gqa=*/shape.heads != shape.kv_heads);  // (B, H, S, D)
  const at::Tensor rows = mixed.transpose(1, 2).reshape({x.size(0), -1});     // (N, H·D)
  const at::Tensor attention = matrix(plan.out)(rows);                        // (N, C)

  const AddedNorm middle =
      add_norm(x, attention, weight(plan.norm2), weight(plan.norm2_bias), config().norm_eps);
  *sum = middle.sum;                                     // (N, C)
  const at::Tensor up = matrix(plan.up)(middle.normed);  // (N, F), or (N, 2F) gated
  const at::Tensor active = config().gpt2() ? at::gelu(up, "tanh") : swiglu(up);  // (N, F)
  return matrix(plan.down)(active);                                               // (N, C)
}

at::Tensor Decoder::hidden(const at::Tensor& given, KvCache& cache) const {
  TORCH_CHECK_VALUE(given.dim() == 2 && given.scalar_type() == at::kLong &&
                        given.size(0) == cache.rows() && given.size(1) > 0,
                    "tokens must be a (", cache.rows(), ", positions) tensor of int64, not ",
                    given.sizes(), " of ", c10::toString(given.scalar_type()));
  const c10::InferenceMode inference;
  const TransformerConfig& shape = config();
  const int64_t sequences = given.size(0), positions = given.size(1);
  Pass pass;
  pass.past = cache.length();
  const int64_t total = pass.past + positions;
  const std::vector<int64_t>& padding = cache.padding();
  const int64_t longest = total - *std::min_element(padding.begin(), padding.end());
  TORCH_CHECK_VALUE(longest <= shape.positions, "a text of ", longest,
                    " tokens is longer than the model's ", shape.positions,
                    " positions; give a shorter prompt or ask for fewer new tokens");
  cache.extend(positions);
  pass.shape = {sequences,      positions,        shape.heads,
                shape.kv_heads, shape.head_width, shape.norm_eps};

  const at::Tensor tokens = given.to(device());                              // (B, S)
  at::Tensor places = at::arange(pass.past, total, at::kLong).unsqueeze(0);  // (1, S)
  if (cache.padded()) {
    const at::Tensor skipped = at::tensor(padding, at::kLong).unsqueeze(1);  // (B, 1)
    const at::Tensor columns = at::arange(total, at::kLong).unsqueeze(0);    // (1, T)
    const at::Tensor earlier = columns.unsqueeze(1) <= places.unsqueeze(2);  // (1, S, T)
    const at::Tensor token = (columns >= skipped).unsqueeze(1);              // (B, 1, T)
    // Padding attends to itself: a row of no columns would be not a number.
    const at::Tensor itself = columns.unsqueeze(1) == places.unsqueeze(2);  // (1, S, T)
    pass.mask = ((earlier & token) | itself).unsqueeze(1).to(device());     // (B, 1, S, T)
    places = (places - skipped).clamp_min(0);                               // (B, S)
  } else if (positions > 1 && pass.past > 0) {
    const at::Tensor columns = at::arange(total, at::kLong);                 // (T)
    pass.mask = (columns <= places.unsqueeze(2)).unsqueeze(1).to(device());  // (1, 1, S, T)
  } else {
    pass.causal = positions > 1;
  }
  places = places.to(device());  // (B, S) or (1, S)

  at::Tensor x = at::embedding(weight(plan_.embedding), tokens);  // (B, S, C)
  if (plan_.positions >= 0) {
    x = x + at::embedding(weight(plan_.positions), places);  // (B, S, C)
  }
  if (rotary_) {
    const RotaryTable::Angles all =
        rotary_->angles(longest, at::toOpMathType(compute_), device());  // (T, D/2)
    pass.angles = cache.padded() ? RotaryTable::Angles{at::embedding(all.cos, places),
                                                       at::embedding(all.sin, places)}
                                 : RotaryTable::Angles{all.cos.narrow(0, pass.past, positions),
                                                       all.sin.narrow(0, pass.past, positions)};
  }
  x = x.view({sequences * positions, shape.width});  // (N, C)
  at::Tensor delta;
  for (size_t layer = 0; layer < plan_.layers.size(); ++layer) {
    const LayerPlan& plan = plan_.layers[layer];
    const AddedNorm start =
        add_norm(x, delta, weight(plan.norm1), weight(plan.norm1_bias), shape.norm_eps);  // (N, C)
    delta = block(layer, start.sum, start.normed, pass, cache, &x);                       // (N, C)
  }
  const AddedNorm end =
      add_norm(x, delta, weight(plan_.final_norm), weight(plan_.final_norm_bias), shape.norm_eps);
  return end.normed.view({sequences, positions, shape.width});  // (B, S, C)
}

at::Tensor Decoder::next_logits(const at::Tensor& tokens, KvCache& cache) const {
  const c10::InferenceMode inference;
  const at::Tensor states = hidden(tokens, cache);               // (B, S, C)
  const at::Tensor last = states.select(1, states.size(1) - 1);  // (B, C)
  return matrix(plan_.head)(last).to(at::kFloat);                // (B, V)
}

}  // namespace temper
