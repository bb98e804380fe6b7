// A frozen model made ready to write text: its weights in the type that it computes in, and a
// forward pass that reads the keys and values of earlier tokens from a cache. What it computes is
// what Transformer::hidden() computes; only the rounding differs.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <vector>

#include "model/kv_cache.h"
#include "model/packed_linear.h"
#include "model/transformer.h"

namespace temper {

class Decoder {
 public:
  /// `compute`: float32, float64 or bfloat16. Copies the model's matrices, packed, so that the
  /// model may go afterwards; the embedding is shared where it has this type already.
  Decoder(const Transformer& model, at::ScalarType compute);

  const TransformerConfig& config() const { return config_; }
  at::Device device() const { return device_; }

  /// An empty cache for rows whose first padding[b] tokens are padding.
  KvCache make_cache(std::vector<int64_t> padding, int64_t capacity) const;

  /// The next S tokens of every row, (B, S) int64 on the CPU or the model's device; their keys and
  /// values go into the cache. -> hidden states after the final norm, (B, S, C) in `compute`; those
  /// of padding mean nothing. Throws c10::ValueError where the cache would outgrow the model's
  /// positions.
  at::Tensor hidden(const at::Tensor& tokens, KvCache& cache) const;

  /// The same, and the head's product for the last position only -> logits (B, V) float32.
  at::Tensor next_logits(const at::Tensor& tokens, KvCache& cache) const;

 private:
  struct Pass;
  at::Tensor block(size_t layer, const at::Tensor& x, const at::Tensor& normed, const Pass& pass,
                   KvCache& cache, at::Tensor* sum) const;
  const at::Tensor& weight(int index) const;
  const PackedLinear& matrix(int index) const { return matrices_[static_cast<size_t>(index)]; }

  const TransformerConfig config_;
  const ParameterPlan plan_;
  const std::shared_ptr<RotaryTable> rotary_;  // none for GPT-2
  const at::Device device_;
  const at::ScalarType compute_;
  // Both as the model's parameters, each filled where it is needed. Norms are in at least float32.
  std::vector<at::Tensor> weights_;
  std::vector<PackedLinear> matrices_;
};

}  // namespace temper
