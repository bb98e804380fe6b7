// Layers whose weights are trained: as LibTorch's own, but that the gradient of the matrix is added
// to the flat buffer in place, in its own dtype, instead of going through autograd as a tensor in
// the compute dtype.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

/// What backward passes keep from one to the next. Must outlive them.
struct GradientSink {
  at::Tensor buffer;  ///< of add_weight_gradient()
};

/// input (N, in) · weightᵀ + bias -> (N, out), all of one dtype; bias (out) or undefined. `master`
/// and `master_bias` are the leaves whose .grad takes the gradients.
at::Tensor trained_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                          const at::Tensor& master, const at::Tensor& master_bias,
                          GradientSink& sink);

/// Rows of `master` (V, C) at tokens (B, S) int64 -> (B, S, C) in the master's dtype. Backward adds
/// to the rows that occur alone.
at::Tensor trained_embedding(const at::Tensor& master, const at::Tensor& tokens);

}  // namespace temper
