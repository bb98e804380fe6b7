// The shape of a decoder-only transformer. One description covers both families that matter: GPT-2
// (learned positions, LayerNorm, GELU, biases, tied head) and Llama, Mistral, Qwen2, Qwen3 (RoPE,
// RMSNorm, SwiGLU, grouped-query attention, optional QKV bias and QK norm). The alphabet of shapes
// is in model/README.md.
#pragma once

#include <cstdint>
#include <string>

namespace temper {

enum class Family { kGpt2, kLlama, kMistral, kQwen2, kQwen3 };

/// The `model_type` of a Hugging Face config.json: gpt2, llama, mistral, qwen2, qwen3.
const char* family_name(Family family);
/// Throws c10::ValueError that lists the known names.
Family family_from_name(const std::string& name);

struct TransformerConfig {
  Family family = Family::kLlama;
  int64_t vocab = 0;       ///< V, rows of the embedding and of the head
  int64_t positions = 0;   ///< longest sequence the model takes
  int64_t layers = 0;      ///< L
  int64_t width = 0;       ///< C
  int64_t heads = 0;       ///< H
  int64_t kv_heads = 0;    ///< heads of keys and values; divides heads; = heads for GPT-2
  int64_t head_width = 0;  ///< D; width / heads unless given (Qwen3)
  int64_t ffn_width = 0;   ///< F
  bool tied_head = false;  ///< the head is the embedding
  bool qkv_bias = false;   ///< Llama family only (Qwen2); GPT-2 always has biases
  bool qk_norm = false;    ///< RMSNorm of each head's queries and keys (Qwen3)
  double norm_eps = 1e-5;
  double rope_theta = 10000.0;

  bool gpt2() const { return family == Family::kGpt2; }

  /// Trainable numbers, a tied head counted once.
  int64_t parameter_count() const;

  /// FLOPs of the forward pass for one token at sequence length `seq`: 2 per weight of every matrix
  /// product, head included, and 2·2·S·H·D per layer for attention (halved by the causal mask).
  double forward_flops_per_token(int64_t seq) const;

  /// Throws c10::ValueError naming the field and the value; `where` names the file or option
  /// section in the message.
  void validate(const std::string& where) const;
};

}  // namespace temper
