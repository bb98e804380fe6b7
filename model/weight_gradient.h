// A matrix's gradient, added where it lies: no copy of it exists in the compute dtype.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

/// gradient (out, in) float32 or float64 += outputᵀ · input, for output (N, out), the gradient of
/// the product's result, and input (N, in), both of one dtype. Where that is narrower than the
/// gradient, parts of at most 8 MiB, or the packed input, go through `buffer`, which is kept for
/// the next call.
void add_weight_gradient(const at::Tensor& output, const at::Tensor& input,
                         const at::Tensor& gradient, at::Tensor& buffer);

}  // namespace temper
