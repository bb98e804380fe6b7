// The shape of a decoder-only transformer. One description covers both families that matter: GPT-2
// (learned positions, LayerNorm, GELU, biases, tied head) and Llama, Mistral, Qwen2, Qwen3 (RoPE,
// RMSNorm, SwiGLU, grouped-query attention, optional QKV bias and QK norm). The alphabet of shapes
// is in model/README.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace temper {

enum class Family { kGpt2, kLlama, kMistral, kQwen2, kQwen3 };

/// The `model_type` of a Hugging Face config.json: gpt2, llama, mistral, qwen2, qwen3.
const char* family_name(Family family);
/// Throws c10::ValueError that lists the known names.
Family family_from_name(const std::string& name);

/// How RoPE's frequencies are changed for sequences longer than those of pre-training.
struct RopeScaling {
  enum class Kind {
    kNone,
    kLinear,  ///< all frequencies divided by `factor` (arXiv 2306.15595)
    kLlama3   ///< low ones divided, high ones kept, those between blended (arXiv 2407.21783, Llama
              ///< 3.1)
  };
  Kind kind = Kind::kNone;
  double factor = 1;
  double low_freq_factor = 1;   ///< kLlama3: wavelengths above original_positions / this are low
  double high_freq_factor = 4;  ///< kLlama3: wavelengths below original_positions / this are high
  int64_t original_positions = 0;  ///< kLlama3: of pre-training
};

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
  RopeScaling rope_scaling;

  // What the model's tokenizer calls them; in [0, vocab), or absent.
  int64_t bos_id = -1;           ///< begins a text; -1: none
  int64_t pad_id = -1;           ///< fills rows of a batch; -1: none
  std::vector<int64_t> eos_ids;  ///< each ends a text

  bool gpt2() const { return family == Family::kGpt2; }

  /// This shape with the first `rows` rows of embedding and head; special ids beyond them are
  /// dropped.
  TransformerConfig with_vocab(int64_t rows) const;

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
