// What the CPU kernels of norm.cpp, rotary.cpp and swiglu.cpp share. ATen makes a pass over memory, and often a new tensor,
// for every elementary operation; at the widths that temper trains, these passes cost as much as the matrix products. So
// three steps are written as single passes, forward and backward: residual add + norm, split + norm + RoPE, SwiGLU. Other devices
// use the ATen expressions beside them, which are also what the tests compare with.
#pragma once

#include <ATen/Parallel.h>
#include <c10/util/BFloat16.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace temper::kernels {

/// The type that values of type T are computed in.
template <class T>
struct Accumulate {
  using type = T;
};
template <>
struct Accumulate<c10::BFloat16> {
  using type = float;
};
template <class T>
using accumulate_t = typename Accumulate<T>::type;

inline float load(float value) { return value; }
inline double load(double value) { return value; }
inline float load(c10::BFloat16 value) {
  return std::bit_cast<float>(static_cast<uint32_t>(value.x) << 16);
}

inline void store(float& place, float value) { place = value; }
inline void store(double& place, double value) { place = value; }
/// Rounds to nearest, ties to even; without branches, so that loops of it become vector code.
inline void store(c10::BFloat16& place, float value) {
  const uint32_t bits = std::bit_cast<uint32_t>(value);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const bool is_nan = (bits & 0x7fffffffu) > 0x7f800000u;
  place.x = static_cast<uint16_t>(is_nan ? 0x7fc0u : rounded);
}

/// e^x to 2 ulp in [-87, 88], clamped outside (Cephes' polynomial); becomes vector code, unlike the library's.
inline float exponential(float x) {
  x = x > 88.0f ? 88.0f : x;
  x = x < -87.0f ? -87.0f : x;
  const float shifted = x * 1.44269504088896341f + 12582912.0f;  // 1.5·2^23: rounds to an integer
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const uint32_t scale = (std::bit_cast<uint32_t>(shifted) + 127u) << 23;
  return (p * r * r + r + 1.0f) * std::bit_cast<float>(scale);
}
inline double exponential(double x) { return std::exp(x); }

#if defined(__x86_64__) && defined(__GNUC__)
template <class Body>
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma"))) void with_avx512(
    const Body& body) {
  body();
}
template <class Body>
__attribute__((target("avx2,fma"))) void with_avx2(const Body& body) {
  body();
}
#endif

/// Runs `body`, a lambda marked always_inline, compiled for the widest vectors that this processor has.
template <class Body>
void with_widest_vectors(const Body& body) {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool avx512 = __builtin_cpu_supports("avx512f") &&
                             __builtin_cpu_supports("avx512bw") &&
                             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  static const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (avx512) return with_avx512(body);
  if (avx2) return with_avx2(body);
#endif
  body();
}

/// Rows that one thread takes at least, so that it has some tens of thousands of numbers to work on.
inline int64_t grain_rows(int64_t row_width) {
  return std::max<int64_t>(1, 16384 / std::max<int64_t>(1, row_width));
}

/// Sums over rows (the gradients of norm weights) are made in this many blocks, whatever the number of threads, and the
/// blocks are added in order: the same bits on any number of threads.
inline int64_t reduction_blocks(int64_t rows) { return std::min<int64_t>(rows, 32); }

}  // namespace temper::kernels
