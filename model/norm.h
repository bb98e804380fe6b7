// The residual add and the norm that follows it, as one step: LayerNorm (arXiv 1607.06450) for
// GPT-2, RMSNorm (arXiv 1910.07467) for the others.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

struct AddedNorm {
  at::Tensor sum;     // (N, C)
  at::Tensor normed;  // (N, C)
};

/// sum = x + delta, in x's dtype; normed = weight · sum / rms(sum), or with a bias (then it is a
/// LayerNorm) weight · (sum - mean) / std + bias. x and delta (N, C), float32, float64 or bfloat16,
/// delta may be undefined (then sum is x); weight and bias (C) in at least float32, in which all is
/// computed.
AddedNorm add_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                   const at::Tensor& bias, double eps);

}  // namespace temper
