// Rows of bfloat16 packed in pairs, as block_product() takes its right factor. For files compiled
// with AVX-512 and bfloat16.
#pragma once

#include <ATen/cpu/vec/vec.h>
#include <c10/util/BFloat16.h>

#include <cstdint>

namespace temper {
namespace {

using FloatVec = at::vec::Vectorized<float>;  // 16 lanes

/// The two vectors in one: of each lane first the low one, then the high one, rounded.
inline void store_pair(const FloatVec& low, const FloatVec& high, c10::BFloat16* to) {
  const __m512i indices =
      _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                       21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
  const auto both = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(high, low));
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(indices, both));
}

/// Rows `low` and `high` of `width` numbers, a multiple of 16, side by side: (width, 2). Without
/// `high`, zeros.
inline void pack_pair(const c10::BFloat16* low, const c10::BFloat16* high, int64_t width,
                      c10::BFloat16* to) {
  const auto words = [](const c10::BFloat16* from) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  };
  for (int64_t i = 0; i < width; i += 16) {
    const __m512i above =
        high == nullptr ? _mm512_setzero_si512() : _mm512_slli_epi32(words(high + i), 16);
    _mm512_storeu_si512(to + 2 * i, _mm512_or_si512(words(low + i), above));
  }
}

}  // namespace
}  // namespace temper
