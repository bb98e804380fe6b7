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
    : model_(model), compute_(compute) {
  TORCH_CHECK_VALUE(compute == at::kFloat || compute == at::kDouble || compute == at::kBFloat16,
                    "the model does not compute in ", c10::toString(compute),
                    "; choose float32, float64 or bfloat16");
  const at::NoGradGuard no_grad;
  for (const Parameter& parameter : model.parameters()) {
    weights_.push_back(parameter.value.detach().to(compute));  // (shape of the parameter)
  }
  const ParameterPlan& plan = model.plan();
  const auto widen = [&](int index) {
    if (index < 0) return;
    const auto i = static_cast<size_t>(index);
    weights_[i] = model.parameters()[i].value.detach().to(at::toOpMathType(compute));  // (C) or (D)
  };
  for (const LayerPlan& layer : plan.layers) {
    for (const int index : {layer.norm1, layer.norm1_bias, layer.norm2, layer.norm2_bias,
                            layer.query_norm, layer.key_norm}) {
      widen(index);
    }
  }
  widen(plan.final_norm);
  widen(plan.final_norm_bias);
}

const at::Tensor& Decoder::weight(int index) const {
  return index < 0 ? none_ : weights_[static_cast<size_t>(index)];
}

KvCache Decoder::make_cache(std::vector<int64_t> padding, int64_t capacity) const {
  return {config(), std::move(padding), capacity, compute_, device()};
}

at::Tensor Decoder::linear(const at::Tensor& input, int matrix, int bias) const {
  return at::linear(input, weight(matrix), weight(bias));  // (N, out)
}

at::Tensor Decoder::block(size_t layer, const at::Tensor& x, const at::Tensor& normed,
                          const Pass& pass, KvCache& cache, at::Tensor* sum) const {
  const LayerPlan& plan = model_.plan().layers[layer];
  const HeadShape& shape = pass.shape;
  const auto number = static_cast<int64_t>(layer);
  const at::Tensor qkv = linear(normed, plan.qkv, plan.qkv_bias);  // (N, (H + 2·kv_heads)·D)
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
  const at::Tensor attention = linear(rows, plan.out, plan.out_bias);         // (N, C)

  const AddedNorm middle =
      add_norm(x, attention, weight(plan.norm2), weight(plan.norm2_bias), config().norm_eps);
  *sum = middle.sum;                                                   // (N, C)
  const at::Tensor up = linear(middle.normed, plan.up, plan.up_bias);  // (N, F), or (N, 2F) gated
  const at::Tensor active = config().gpt2() ? at::gelu(up, "tanh") : swiglu(up);  // (N, F)
  return linear(active, plan.down, plan.down_bias);                               // (N, C)
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

  at::Tensor x = at::embedding(weight(model_.plan().embedding), tokens);  // (B, S, C)
  if (model_.plan().positions >= 0) {
    x = x + at::embedding(weight(model_.plan().positions), places);  // (B, S, C)
  }
  if (model_.rotary()) {
    const RotaryTable::Angles all =
        model_.rotary()->angles(longest, at::toOpMathType(compute_), device());  // (T, D/2)
    pass.angles = cache.padded() ? RotaryTable::Angles{at::embedding(all.cos, places),
                                                       at::embedding(all.sin, places)}
                                 : RotaryTable::Angles{all.cos.narrow(0, pass.past, positions),
                                                       all.sin.narrow(0, pass.past, positions)};
  }
  x = x.view({sequences * positions, shape.width});  // (N, C)
  at::Tensor delta;
  for (size_t layer = 0; layer < model_.plan().layers.size(); ++layer) {
    const LayerPlan& plan = model_.plan().layers[layer];
    const AddedNorm start =
        add_norm(x, delta, weight(plan.norm1), weight(plan.norm1_bias), shape.norm_eps);  // (N, C)
    delta = block(layer, start.sum, start.normed, pass, cache, &x);                       // (N, C)
  }
  const AddedNorm end = add_norm(x, delta, weight(model_.plan().final_norm),
                                 weight(model_.plan().final_norm_bias), shape.norm_eps);
  return end.normed.view({sequences, positions, shape.width});  // (B, S, C)
}

at::Tensor Decoder::next_logits(const at::Tensor& tokens, KvCache& cache) const {
  const c10::InferenceMode inference;
  const at::Tensor states = hidden(tokens, cache);                      // (B, S, C)
  const at::Tensor last = states.select(1, states.size(1) - 1);         // (B, C)
  return linear(last, model_.plan().head, /*bias=*/-1).to(at::kFloat);  // (B, V)
}

}  // namespace temper
