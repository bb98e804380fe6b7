// A thread's sums over the logits that it has met, relative to the largest of them (online softmax,
// Milakov and Gimelshein 2018, arXiv 1805.02867). Included by loss_rows_kernel.cu.
#pragma once

#include <limits>

#include "student/cuda/row_walk.cuh"
#include "student/kernels/number_functions.h"

namespace temper::gpu {

/// Where a maximum begins: finite, so that differences are; what is not above it counts as -∞.
template <typename T>
constexpr T kNoLogit = std::numeric_limits<T>::lowest() / 8;

/// So that a shift away from it stays finite, times any sum.
constexpr double kFurthest = 1e30;

/// Over some of a row's numbers, those with exponentials relative to the maxima of these numbers.
template <typename T>
struct OnlineSums {
  T max = kNoLogit<T>, teacher_max = kNoLogit<T>;
  T z = 0, z_one = 0;  // Σ exp((s − max)/T), Σ exp(s − max)
  T zq = 0;            // Σ f, f = exp((t − teacher_max)/T)
  T weighted = 0;      // Σ f·(y − x), x and y the exponents at T
  T logits = 0;        // Σ s

  __device__ void move_to(T new_max, T new_teacher_max, T inverse) {
    const T far = static_cast<T>(-kFurthest);
    const T shift = max - new_max > far ? max - new_max : far;
    const T teacher_shift =
        teacher_max - new_teacher_max > far ? teacher_max - new_teacher_max : far;
    const T factor = exp_of(teacher_shift * inverse);
    weighted = factor * (weighted + zq * (teacher_shift - shift) * inverse);
    zq *= factor;
    z *= exp_of(shift * inverse);
    z_one *= exp_of(shift);
    max = new_max;
    teacher_max = new_teacher_max;
  }
};

/// exp(above) at T = 1, from its exponential e at T = P; P = 0: any T.
template <int P, typename T>
__device__ T at_one(T e, T above) {
  if constexpr (P == 0) return exp_of(above);
  if constexpr (P == 1) return e;
  const T square = e * e;
  if constexpr (P == 2) return square;
  return square * square;
}

template <int P, bool kTeacher, bool kForward, bool kTempered, typename T, int N>
__device__ void add(OnlineSums<T>& sums, const T (&s)[N], const T (&t)[N], T inverse) {
  T most = sums.max, teacher_most = sums.teacher_max;
#pragma unroll
  for (int j = 0; j < N; ++j) {
    most = s[j] > most ? s[j] : most;
    if (kTeacher) teacher_most = t[j] > teacher_most ? t[j] : teacher_most;
  }
  if (most > sums.max || teacher_most > sums.teacher_max) sums.move_to(most, teacher_most, inverse);
#pragma unroll
  for (int j = 0; j < N; ++j) {
    sums.logits += s[j];
    const T above = s[j] - most;
    if (!kTempered) {
      sums.z_one += exp_of(above);
      continue;
    }
    const T x = above * inverse;
    const T e = exp_of(x);
    sums.z += e;
    sums.z_one += at_one<P>(e, above);
    if (!kTeacher) continue;
    const T y = (t[j] - teacher_most) * inverse;
    const T f = exp_of(y);
    sums.zq += f;
    if (kForward) sums.weighted += where_positive(f, f * (y - x));
  }
}

}  // namespace temper::gpu
