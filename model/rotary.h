// From the fused QKV product to what attention takes: heads split, queries and keys normed (Qwen3)
// and turned by their position (RoPE, arXiv 2104.09864), keys and values repeated for grouped
// queries.
#pragma once

#include <ATen/core/Tensor.h>

#include <mutex>

#include "model/transformer_config.h"

namespace temper {

/// cos and sin of position · theta^(-2i/D), i < D/2, with the frequencies scaled as `scaling` says;
/// made on first use and as long as needed, up to `positions`.
class RotaryTable {
 public:
  RotaryTable(int64_t positions, int64_t head_width, double theta, const RopeScaling& scaling = {});

  struct Angles {
    at::Tensor cos;  // (S, D/2), or (B, S, D/2) where rows have positions of their own
    at::Tensor sin;  // as cos
  };

  /// For the first `seq` positions, in `dtype` (float32, computed as `transformers` computes it, or
  /// float64). Thread-safe.
  Angles angles(int64_t seq, at::ScalarType dtype, at::Device device);

 private:
  const int64_t positions_;
  const int64_t head_width_;
  const double theta_;
  const RopeScaling scaling_;
  std::mutex mutex_;
  Angles kept_;
};

struct HeadShape {
  int64_t sequences = 0;   // B
  int64_t positions = 0;   // S
  int64_t heads = 0;       // H
  int64_t kv_heads = 0;    // divides H
  int64_t head_width = 0;  // D
  double norm_eps = 0;     // of the norm of queries and keys, where their weights are given
};

struct AttentionInput {
  at::Tensor query;       // (B, H, S, D)
  at::Tensor key, value;  // (B, H, S, D), or (B, kv_heads, S, D) unrepeated
};

/// qkv (N, (H + 2·kv_heads)·D) -> queries, keys and values; the pairs that RoPE turns are (i, i +
/// D/2), Hugging Face's "rotate half"; undefined angles turn nothing. query_norm and key_norm (D)
/// in at least float32, or undefined: no norm. With `repeat`, keys and values are repeated to H
/// heads.
AttentionInput split_heads(const at::Tensor& qkv, const HeadShape& shape,
                           const RotaryTable::Angles& angles, const at::Tensor& query_norm,
                           const at::Tensor& key_norm, bool repeat = true);

}  // namespace temper
