// A matrix of a frozen model, kept in the layout in which oneDNN multiplies it. Decoding is bound
// by reading weights, few rows at a time; at::linear then reads them at half the speed of memory or
// less, or lays them out anew on every call (bf16).
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

class PackedLinear {
 public:
  PackedLinear() = default;
  /// weight (out, in); bias (out) of the same dtype, or undefined. Packs a copy on CPUs for float32
  /// and bfloat16 where LibTorch was built with oneDNN and it serves this processor; elsewhere
  /// keeps the weight as it is.
  PackedLinear(const at::Tensor& weight, const at::Tensor& bias);

  bool packed() const { return packed_; }
  /// input (N, in) of the weight's dtype -> input · weightᵀ + bias, (N, out). To be called in
  /// inference mode.
  at::Tensor operator()(const at::Tensor& input) const;

 private:
  at::Tensor weight_;  // (out, in), or oneDNN's own layout
  at::Tensor bias_;    // (out) or undefined
  bool packed_ = false;
};

}  // namespace temper
