// What the threads of a block do together with a row: walk over it in reads of 16 bytes, and add
// up.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace temper::gpu {

/// What a stored number is computed in.
template <typename S>
struct MathOf {
  using Type = float;
};
template <>
struct MathOf<double> {
  using Type = double;
};
template <typename S>
using Math = typename MathOf<S>::Type;

template <typename S>
__device__ Math<S> widened(S value) {
  return static_cast<Math<S>>(value);
}
template <typename S>
__device__ S narrowed(Math<S> value) {
  return static_cast<S>(value);
}

__device__ inline float exp_of(float x) { return __expf(x); }
__device__ inline double exp_of(double x) { return exp(x); }

/// A walk that only reads, or one whose step's numbers are written back in place of the first
/// row's.
enum class Walk { kRead, kWrite };

/// kWidth numbers, as reads of 16 bytes.
template <typename S, int kWidth>
union Vector {
  static constexpr int kReads = kWidth * static_cast<int>(sizeof(S)) / 16;
  uint4 bits[kReads];
  S numbers[kWidth];
  __device__ Vector() {}

  __device__ void read(const S* from) {
#pragma unroll
    for (int r = 0; r < kReads; ++r) bits[r] = reinterpret_cast<const uint4*>(from)[r];
  }
  __device__ void write(S* to) const {
#pragma unroll
    for (int r = 0; r < kReads; ++r) reinterpret_cast<uint4*>(to)[r] = bits[r];
  }
};

/// step(i, a, b) for the numbers from i on of two rows of n numbers, `a` and `b` arrays of as many
/// as are at hand; all threads of the block together take every number once. `second` may be null:
/// then b is a. Its type is S, or the one that S is computed in.
template <Walk kWalk, typename S, typename Q, typename Step>
__device__ void walk_rows(S* first, const Q* second, int n, const Step& step) {
  static_assert(std::is_same_v<Math<S>, Math<Q>> && sizeof(Q) >= sizeof(S));
  constexpr int kWidth = 16 / sizeof(S);
  const auto misaligned = [](const void* at) {
    return static_cast<int>(reinterpret_cast<uintptr_t>(at) % 16);
  };
  const int head = min(n, (16 - misaligned(first)) % 16 / static_cast<int>(sizeof(S)));
  const bool together = second == nullptr || misaligned(second + head) == 0;
  const int vectors = together ? (n - head) / kWidth : 0;
#pragma unroll 2
  for (int v = static_cast<int>(threadIdx.x); v < vectors; v += static_cast<int>(blockDim.x)) {
    const int i = head + v * kWidth;
    Vector<S, kWidth> of_first;
    Vector<Q, kWidth> of_second;
    of_first.read(first + i);
    if (second != nullptr) of_second.read(second + i);
    Math<S> a[kWidth], b[kWidth];
#pragma unroll
    for (int j = 0; j < kWidth; ++j) {
      a[j] = widened(of_first.numbers[j]);
      b[j] = second != nullptr ? widened(of_second.numbers[j]) : a[j];
    }
    step(i, a, b);
    if constexpr (kWalk == Walk::kWrite) {
#pragma unroll
      for (int j = 0; j < kWidth; ++j) of_first.numbers[j] = narrowed<S>(a[j]);
      of_first.write(first + i);
    }
  }
  const int body = vectors * kWidth;
  for (int k = static_cast<int>(threadIdx.x); k < n - body; k += static_cast<int>(blockDim.x)) {
    const int i = k < head ? k : k + body;
    Math<S> a[1] = {widened(first[i])};
    Math<S> b[1] = {second != nullptr ? widened(second[i]) : a[0]};
    step(i, a, b);
    if constexpr (kWalk == Walk::kWrite) first[i] = narrowed<S>(a[0]);
  }
}

struct Plus {
  __device__ double operator()(double a, double b) const { return a + b; }
};
struct Most {
  __device__ double operator()(double a, double b) const { return a > b ? a : b; }
};

/// Combines each of N numbers over the threads of a block, in double and in a fixed order; every
/// thread gets the results. `neutral` changes no other number.
template <typename Combine, int N>
__device__ void combine(double (&values)[N], double neutral) {
  __shared__ double of_warps[N][32];
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32);
  const int warps = static_cast<int>(blockDim.x / 32);
  const auto within_warp = [](double value) {
#pragma unroll
    for (int far = 16; far > 0; far /= 2)
      value = Combine()(value, __shfl_xor_sync(0xffffffffU, value, far));
    return value;
  };
#pragma unroll
  for (int i = 0; i < N; ++i) {
    const double value = within_warp(values[i]);
    if (lane == 0) of_warps[i][warp] = value;
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < N; ++i) values[i] = within_warp(lane < warps ? of_warps[i][lane] : neutral);
  __syncthreads();  // the next call writes there
}

}  // namespace temper::gpu
