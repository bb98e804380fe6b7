// A frozen model made ready to write text: its weights in the type that it computes in, and a
// forward pass that reads the keys and values of earlier tokens from a cache. What it computes is
// what Transformer::hidden() computes; only the rounding differs.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

#include "model/kv_cache.h"
#include "model/transformer.h"

namespace temper {

class Decoder {
 public:
  /// `compute`: float32, float64 or bfloat16. Shares the model's weights where they have this type
  /// already, else copies them. The model must outlive the decoder.
  Decoder(const Transformer& model, at::ScalarType compute);

  const TransformerConfig& config() const { return model_.config(); }
  at::Device device() const { return model_.flat_weights().device(); }

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
  at::Tensor linear(const at::Tensor& input, int matrix, int bias) const;
  const at::Tensor& weight(int index) const;

  const Transformer& model_;
  at::ScalarType compute_;
  std::vector<at::Tensor> weights_;  // as model_.parameters(): matrices and biases in compute_,
                                     // norms in at least float32
  at::Tensor none_;
};

}  // namespace temper
