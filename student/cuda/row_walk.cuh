// What the threads of a block do together with a row: walk over it in reads of 16 bytes, two of
// each row under way at once, and add up.
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

/// 2ˣ; of a float by the instruction for it, whose result is 0 where it would be denormal.
__device__ inline float exp2_of(float x) {
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
  return result;
}
__device__ inline double exp2_of(double x) { return exp2(x); }

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

/// Two rows of n numbers, taken apart: some numbers, vectors, some numbers. The second's type is S,
/// or the one that S is computed in. Numbers that nobody uses are not read.
template <typename S, typename Q>
class Rows {
  static_assert(std::is_same_v<Math<S>, Math<Q>> && sizeof(Q) >= sizeof(S));

 public:
  static constexpr int kWidth = 16 / sizeof(S);
  /// Vectors of a row that a thread reads at once, as its registers allow.
  static constexpr int kAtOnce = sizeof(Q) == sizeof(S) && sizeof(S) <= sizeof(float) ? 2 : 1;

  /// `result`: the row that is written, which may be either.
  __device__ Rows(const S* first, const Q* second, const S* result, int n)
      : first_(first), second_(second), n_(n) {
    const auto misaligned = [](const void* at) {
      return static_cast<int>(reinterpret_cast<uintptr_t>(at) % 16);
    };
    head_ = min(n, (16 - misaligned(first)) % 16 / static_cast<int>(sizeof(S)));
    const bool together = misaligned(second + head_) == 0 && misaligned(result + head_) == 0;
    vectors_ = together ? (n - head_) / kWidth : 0;
  }

  __device__ int vectors() const { return vectors_; }
  /// Where vector v begins.
  __device__ int place(int v) const { return head_ + v * kWidth; }
  /// How many numbers are in none, and where the k-th of them is.
  __device__ int rest() const { return n_ - vectors_ * kWidth; }
  __device__ int place_of_rest(int k) const { return k < head_ ? k : k + vectors_ * kWidth; }

  /// kCount vectors of each row, from memory.
  template <int kCount>
  struct Read {
    Vector<S, kWidth> first[kCount];
    Vector<Q, kWidth> second[kCount];
  };
  template <int kCount>
  __device__ void read(int v, int stride, Read<kCount>& to) const {
#pragma unroll
    for (int c = 0; c < kCount; ++c) {
      to.first[c].read(first_ + place(v + c * stride));
      to.second[c].read(second_ + place(v + c * stride));
    }
  }
  /// The same as numbers to compute with.
  template <int kCount>
  __device__ void widen(const Read<kCount>& read, Math<S> (&a)[kCount * kWidth],
                        Math<S> (&b)[kCount * kWidth]) const {
#pragma unroll
    for (int j = 0; j < kCount * kWidth; ++j) {
      a[j] = widened(read.first[j / kWidth].numbers[j % kWidth]);
      b[j] = widened(read.second[j / kWidth].numbers[j % kWidth]);
    }
  }
  __device__ Math<S> first(int i) const { return widened(first_[i]); }
  __device__ Math<S> second(int i) const { return widened(second_[i]); }

 private:
  const S* first_;
  const Q* second_;
  int n_, head_, vectors_;
};

/// step(a, b) for kCount vectors, from the v-th on.
template <int kCount, typename S, typename Q, typename Step>
__device__ void read_vectors(const Rows<S, Q>& rows, int v, int stride, const Step& step) {
  constexpr int kNumbers = kCount * Rows<S, Q>::kWidth;
  typename Rows<S, Q>::template Read<kCount> read;
  rows.read(v, stride, read);
  Math<S> a[kNumbers], b[kNumbers];
  rows.widen(read, a, b);
  step(a, b);
}

/// step(a, b) for numbers of two rows, arrays of as many as are at hand; all threads of the block
/// together take every number once.
template <typename S, typename Q, typename Step>
__device__ void read_rows(const S* first, const Q* second, int n, const Step& step) {
  const Rows<S, Q> rows(first, second, first, n);
  const int threads = static_cast<int>(blockDim.x);
  int v = static_cast<int>(threadIdx.x);
  constexpr int kAtOnce = Rows<S, Q>::kAtOnce;
#pragma unroll 1
  for (; v + (kAtOnce - 1) * threads < rows.vectors(); v += kAtOnce * threads)
    read_vectors<kAtOnce>(rows, v, threads, step);
  if (kAtOnce > 1 && v < rows.vectors()) read_vectors<1>(rows, v, threads, step);
  for (int k = static_cast<int>(threadIdx.x); k < rows.rest(); k += threads) {
    const int i = rows.place_of_rest(k);
    const Math<S> a[1] = {rows.first(i)}, b[1] = {rows.second(i)};
    step(a, b);
  }
}

/// Of kCount vectors, from the v-th on, the results. All are read before the first is written.
template <int kCount, typename S, typename Q, typename Value>
__device__ void write_vectors(const Rows<S, Q>& rows, int v, int stride, S* result,
                              const Value& value) {
  constexpr int kWidth = Rows<S, Q>::kWidth;
  typename Rows<S, Q>::template Read<kCount> read;
  rows.read(v, stride, read);
  Math<S> a[kCount * kWidth], b[kCount * kWidth];
  rows.widen(read, a, b);
#pragma unroll
  for (int c = 0; c < kCount; ++c) {
    Vector<S, kWidth> values;
#pragma unroll
    for (int j = 0; j < kWidth; ++j)
      values.numbers[j] = narrowed<S>(value(a[c * kWidth + j], b[c * kWidth + j]));
    values.write(result + rows.place(v + c * stride));
  }
}

/// result[i] = value(a, b) of the numbers there of two rows. It goes from the end to the beginning:
/// what the walk before has read last is what the second-level cache still holds. `result` may be
/// either row: a thread reads a number before it writes there, and nobody else reads it.
template <typename S, typename Q, typename Value>
__device__ void write_rows(const S* first, const Q* second, S* result, int n, const Value& value) {
  const Rows<S, Q> rows(first, second, result, n);
  const int threads = static_cast<int>(blockDim.x);
  int v = rows.vectors() - 1 - static_cast<int>(threadIdx.x);
  constexpr int kAtOnce = Rows<S, Q>::kAtOnce;
#pragma unroll 1
  for (; v >= (kAtOnce - 1) * threads; v -= kAtOnce * threads)
    write_vectors<kAtOnce>(rows, v, -threads, result, value);
  if (kAtOnce > 1 && v >= 0) write_vectors<1>(rows, v, -threads, result, value);
  for (int k = static_cast<int>(threadIdx.x); k < rows.rest(); k += threads) {
    const int i = rows.place_of_rest(k);
    result[i] = narrowed<S>(value(rows.first(i), rows.second(i)));
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
