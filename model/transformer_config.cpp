// Names, sizes and checks of a transformer's shape.
#include "model/transformer_config.h"

#include <c10/util/Exception.h>

#include <array>
#include <cmath>
#include <utility>

namespace temper {
namespace {

constexpr std::array<std::pair<Family, const char*>, 5> kFamilies = {{{Family::kGpt2, "gpt2"},
                                                                      {Family::kLlama, "llama"},
                                                                      {Family::kMistral, "mistral"},
                                                                      {Family::kQwen2, "qwen2"},
                                                                      {Family::kQwen3, "qwen3"}}};

// Larger values are typing errors or attacks, and would overflow the products below.
constexpr int64_t kLargest = int64_t{1} << 24;

void check_range(const std::string& where, const char* field, int64_t value) {
  TORCH_CHECK_VALUE(value >= 1 && value <= kLargest, where, ": ", field, " is ", value,
                    "; give a number from 1 to ", kLargest);
}

}  // namespace

const char* family_name(Family family) {
  for (const auto& [known, name] : kFamilies) {
    if (known == family) return name;
  }
  TORCH_INTERNAL_ASSERT(false, "family ", static_cast<int>(family));
}

Family family_from_name(const std::string& name) {
  std::string names;
  for (const auto& [family, known] : kFamilies) {
    if (name == known) return family;
    names += names.empty() ? "" : ", ";
    names += known;
  }
  TORCH_CHECK_VALUE(false, "unknown model family '", name, "'; known: ", names);
}

int64_t TransformerConfig::parameter_count() const {
  const int64_t queries = heads * head_width;
  const int64_t keys = kv_heads * head_width;
  const int64_t embeddings = vocab * width * (tied_head ? 1 : 2) + (gpt2() ? positions * width : 0);
  const int64_t attention = width * (queries + 2 * keys) + queries * width;
  const int64_t mlp = (gpt2() ? 2 : 3) * width * ffn_width;
  int64_t vectors = 2 * width;  // the layer's two norms
  if (gpt2()) vectors += 2 * width + (queries + 2 * keys) + width + ffn_width + width;
  if (qkv_bias && !gpt2()) vectors += queries + 2 * keys;
  if (qk_norm) vectors += 2 * head_width;
  const int64_t final_norm = gpt2() ? 2 * width : width;
  return embeddings + layers * (attention + mlp + vectors) + final_norm;
}

TransformerConfig TransformerConfig::with_vocab(int64_t rows) const {
  TransformerConfig other = *this;
  other.vocab = rows;
  if (bos_id >= rows) other.bos_id = -1;
  if (pad_id >= rows) other.pad_id = -1;
  std::erase_if(other.eos_ids, [&](int64_t id) { return id >= rows; });
  return other;
}

double TransformerConfig::forward_flops_per_token(int64_t seq) const {
  const double c = static_cast<double>(width);
  const double queries = static_cast<double>(heads * head_width);
  const double keys = static_cast<double>(kv_heads * head_width);
  const double attention_weights = c * (queries + 2 * keys) + queries * c;
  const double mlp_weights = (gpt2() ? 2.0 : 3.0) * c * static_cast<double>(ffn_width);
  // Scores and mixed values: 2·S·H·D each, of which the causal mask leaves half.
  const double attention = 2.0 * 2.0 * static_cast<double>(seq) * queries / 2.0;
  const double head = 2.0 * c * static_cast<double>(vocab);
  return static_cast<double>(layers) * (2.0 * (attention_weights + mlp_weights) + attention) + head;
}

void TransformerConfig::validate(const std::string& where) const {
  check_range(where, "vocab", vocab);
  check_range(where, "positions", positions);
  check_range(where, "layers", layers);
  check_range(where, "width", width);
  check_range(where, "heads", heads);
  check_range(where, "kv-heads", kv_heads);
  check_range(where, "head width", head_width);
  check_range(where, "ffn-width", ffn_width);
  TORCH_CHECK_VALUE(kv_heads <= heads && heads % kv_heads == 0, where, ": kv-heads ", kv_heads,
                    " does not divide heads ", heads, "; choose a divisor of ", heads);
  // In floating point, since the integers of parameter_count() could overflow.
  const double c = static_cast<double>(width);
  const double rows =
      static_cast<double>(2 * heads + 2 * kv_heads) * static_cast<double>(head_width);
  const double weights =
      c * (2.0 * static_cast<double>(vocab) + static_cast<double>(positions) +
           static_cast<double>(layers) * (rows + 3.0 * static_cast<double>(ffn_width)));
  TORCH_CHECK_VALUE(weights < 1e14, where, ": this shape has about ", weights,
                    " weights, more than any machine holds; choose smaller numbers");
  TORCH_CHECK_VALUE(heads <= kLargest / head_width, where, ": ", heads, " heads of width ",
                    head_width, " are too wide; choose fewer or narrower heads");
  TORCH_CHECK_VALUE(std::isfinite(norm_eps) && norm_eps > 0, where, ": the norm's epsilon is ",
                    norm_eps, "; it must be a positive number such as 1e-5");
  if (gpt2()) {
    TORCH_CHECK_VALUE(kv_heads == heads, where, ": kv-heads ", kv_heads, " with ", heads,
                      " heads; gpt2 has no grouped-query attention, leave kv-heads at heads");
    TORCH_CHECK_VALUE(heads * head_width == width, where, ": width ", width,
                      " is not divisible by heads ", heads,
                      "; choose a width that is heads times a"
                      " head width");
  } else {
    TORCH_CHECK_VALUE(head_width % 2 == 0, where, ": the head width ", head_width,
                      " is odd; RoPE turns pairs, so width / heads must be even");
    TORCH_CHECK_VALUE(std::isfinite(rope_theta) && rope_theta > 0, where, ": rope_theta is ",
                      rope_theta, "; it must be a positive number such as 10000");
    const RopeScaling& scaling = rope_scaling;
    const bool scaled = scaling.kind != RopeScaling::Kind::kNone;
    TORCH_CHECK_VALUE(!scaled || (std::isfinite(scaling.factor) && scaling.factor >= 1), where,
                      ": RoPE's scaling factor is ", scaling.factor, "; it must be at least 1");
    TORCH_CHECK_VALUE(
        scaling.kind != RopeScaling::Kind::kLlama3 ||
            (scaling.low_freq_factor > 0 && std::isfinite(scaling.high_freq_factor) &&
             scaling.high_freq_factor > scaling.low_freq_factor && scaling.original_positions >= 1),
        where, ": RoPE's llama3 scaling has low_freq_factor ", scaling.low_freq_factor,
        ", high_freq_factor ", scaling.high_freq_factor, " and original_max_position_embeddings ",
        scaling.original_positions,
        "; the first must be positive and below the second, the last positive");
  }
  TORCH_CHECK_VALUE(qk_norm == (family == Family::kQwen3), where, ": qk_norm is ", qk_norm,
                    " in family ", family_name(family), "; qwen3 has it and no other family");
  TORCH_CHECK_VALUE(qkv_bias == (family == Family::kQwen2), where, ": qkv_bias is ", qkv_bias,
                    " in family ", family_name(family),
                    "; it is qwen2's, and gpt2 has biases without it");
}

}  // namespace temper
