// The seam to the kernel, which is compiled with AVX-512: nothing that other files share may be
// included here.
#pragma once

#include <c10/util/BFloat16.h>

#include <cstdint>

namespace temper {

/// A layer's input (N, in), packed for the product: `bytes` of packed_input().
struct PackedInput {
  int64_t tokens = 0;  // N
  int64_t width = 0;   // in, a multiple of 16
  c10::BFloat16* data = nullptr;

  int64_t pairs() const { return (tokens + 1) / 2; }
  int64_t numel() const { return pairs() * 2 * width; }
};

/// Packs the pairs [begin, end) of rows, `stride` apart.
void pack_input_avx512(const c10::BFloat16* rows, int64_t stride, const PackedInput& to,
                       int64_t begin, int64_t end);

/// gradient (out, in), rows [begin, end) of it, += outputᵀ · input, for output (N, out) with rows
/// `stride` apart.
void add_weight_gradient_avx512(const c10::BFloat16* output, int64_t stride,
                                const PackedInput& input, float* gradient, int64_t begin,
                                int64_t end);

}  // namespace temper
