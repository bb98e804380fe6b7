// The student without its head as two CUDA graphs, one forward and one backward: a step's several
// hundred small kernels are handed to the GPU by two calls, where the processor could not hand them
// over one by one as fast as they are done.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "model/transformer.h"

namespace temper {

class TrunkGraph {
 public:
  virtual ~TrunkGraph() = default;

  /// tokens (B, S) int64 of the graph's shape -> hidden states (B·S, C), valid until the next call.
  /// The model's weights are cast already (Transformer::Cast).
  virtual at::Tensor forward(const at::Tensor& tokens) = 0;
  /// Adds to the model's gradients, given that of the hidden states (B·S, C). Once after each
  /// forward().
  virtual void backward(const at::Tensor& hidden_gradient) = 0;
  /// Whether the graph is for tokens of this shape.
  virtual bool fits(at::IntArrayRef sizes) const = 0;
};

/// Records the graphs for tokens of `sizes` (B, S) on the model's GPU; null where this build has no
/// CUDA. The model must have gradients, which are left as they are where they are finite, must not
/// have gone through a backward pass before, and must outlive the graph; its buffers may not move.
/// A Cast of it must be alive and complete.
std::unique_ptr<TrunkGraph> record_trunk(Transformer& model, at::ScalarType compute,
                                         at::IntArrayRef sizes);

}  // namespace temper
