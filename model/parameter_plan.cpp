// The weights of both families, in the order of the forward pass.
#include "model/parameter_plan.h"

#include <utility>

namespace temper {

int ParameterPlan::add(std::string name, std::vector<int64_t> shape, Init init) {
  parameters.push_back({std::move(name), std::move(shape), init});
  return static_cast<int>(parameters.size()) - 1;
}

ParameterPlan::ParameterPlan(const TransformerConfig& config) {
  const bool gpt2 = config.gpt2();
  const int64_t width = config.width;
  const int64_t queries = config.heads * config.head_width;
  const int64_t qkv_width = queries + 2 * config.kv_heads * config.head_width;
  const std::string root = gpt2 ? "transformer." : "model.";

  embedding = add(root + (gpt2 ? "wte.weight" : "embed_tokens.weight"), {config.vocab, width},
                  Init::kNormal);
  if (gpt2) positions = add(root + "wpe.weight", {config.positions, width}, Init::kNormal);
  for (int64_t number = 0; number < config.layers; ++number) {
    const std::string prefix = root + (gpt2 ? "h." : "layers.") + std::to_string(number) + ".";
    LayerPlan layer;
    if (gpt2) {
      layer.norm1 = add(prefix + "ln_1.weight", {width}, Init::kOne);
      layer.norm1_bias = add(prefix + "ln_1.bias", {width}, Init::kZero);
      layer.qkv = add(prefix + "attn.c_attn.weight", {qkv_width, width}, Init::kNormal);
      layer.qkv_bias = add(prefix + "attn.c_attn.bias", {qkv_width}, Init::kZero);
      layer.out = add(prefix + "attn.c_proj.weight", {width, queries}, Init::kResidual);
      layer.out_bias = add(prefix + "attn.c_proj.bias", {width}, Init::kZero);
      layer.norm2 = add(prefix + "ln_2.weight", {width}, Init::kOne);
      layer.norm2_bias = add(prefix + "ln_2.bias", {width}, Init::kZero);
      layer.up = add(prefix + "mlp.c_fc.weight", {config.ffn_width, width}, Init::kNormal);
      layer.up_bias = add(prefix + "mlp.c_fc.bias", {config.ffn_width}, Init::kZero);
      layer.down = add(prefix + "mlp.c_proj.weight", {width, config.ffn_width}, Init::kResidual);
      layer.down_bias = add(prefix + "mlp.c_proj.bias", {width}, Init::kZero);
    } else {
      layer.norm1 = add(prefix + "input_layernorm.weight", {width}, Init::kOne);
      layer.qkv = add(prefix + "self_attn.qkv_proj.weight", {qkv_width, width}, Init::kNormal);
      if (config.qkv_bias) {
        layer.qkv_bias = add(prefix + "self_attn.qkv_proj.bias", {qkv_width}, Init::kZero);
      }
      if (config.qk_norm) {
        layer.query_norm = add(prefix + "self_attn.q_norm.weight", {config.head_width}, Init::kOne);
        layer.key_norm = add(prefix + "self_attn.k_norm.weight", {config.head_width}, Init::kOne);
      }
      layer.out = add(prefix + "self_attn.o_proj.weight", {width, queries}, Init::kResidual);
      layer.norm2 = add(prefix + "post_attention_layernorm.weight", {width}, Init::kOne);
      layer.up =
          add(prefix + "mlp.gate_up_proj.weight", {2 * config.ffn_width, width}, Init::kNormal);
      layer.down = add(prefix + "mlp.down_proj.weight", {width, config.ffn_width}, Init::kResidual);
    }
    layers.push_back(layer);
  }
  final_norm = add(root + (gpt2 ? "ln_f.weight" : "norm.weight"), {width}, Init::kOne);
  if (gpt2) final_norm_bias = add(root + "ln_f.bias", {width}, Init::kZero);
  head = config.tied_head ? embedding : add("lm_head.weight", {config.vocab, width}, Init::kNormal);
}

}  // namespace temper
