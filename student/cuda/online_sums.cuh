// A thread's sums over the logits that it has met, relative to the largest of them (online softmax,
// Milakov and Gimelshein 2018, arXiv 1805.02867). Included by loss_rows_kernel.cu.
//
// Note [Exponents]
// ~~~~~~~~~~~~~~~~
// A GPU's exponential is to the base 2, so that is what exponents are to: logit·factor − origin, of
// factor log2(e)/T, is one instruction. The origin is the largest logit's logit·factor, rounded;
// what it is rounded by is the same factor for every exponential of a row, and cancels, as long as
// all use one origin. That holds up to 2^28 for float: there exponentials may be wrong by 2^16, and
// four powers and a row's sum of that still are numbers. A logit below counts as −∞, one above as
// no number.
#pragma once

#include <limits>

#include "student/cuda/row_walk.cuh"

namespace temper::gpu {

inline constexpr double kLog2E = 1.4426950408889634, kLn2 = 0.6931471805599453;

/// Where a maximum begins; what is not above it counts as −∞.
template <typename T>
constexpr T kNoLogit = std::numeric_limits<T>::lowest() / 8;

/// Where origins begin, and what they must stay below.
template <typename T>
constexpr T kFurthest = std::is_same_v<T, double> ? T(1e17) : T(268435456);

/// Of logits in exponents: the student's at T and at 1. The teacher's is the former.
template <typename T>
struct Factors {
  T at_t, at_one;
};

/// 2 to the exponent at 1, from that at T = P, e; P = 0 stands for any T, where it takes the
/// logit.
template <int P, typename T>
__device__ T at_one(T e, T logit, T factor, T origin) {
  if constexpr (P == 0) return exp2_of(fma(logit, factor, -origin));
  if constexpr (P == 1) return e;
  const T square = e * e;
  if constexpr (P == 2) return square;
  return square * square;
}

/// Over some of a row's numbers. P as in at_one(); where it is not 0, what belongs to T = 1 has no
/// origin of its own, and for P = 1 no sum.
template <typename T, int P>
struct OnlineSums {
  T origin = -kFurthest<T>, one_origin = -kFurthest<T>, teacher_origin = -kFurthest<T>;
  T z = 0, z_one = 0;  // Σ 2^x, x the exponent at T, and the same at 1
  T zq = 0;            // Σ f, f = 2^y, y the teacher's exponent
  T weighted = 0;      // Σ f·(y − x)

  __device__ void move_to(T new_origin, T new_one_origin, T new_teacher_origin) {
    const T shift = origin - new_origin, teacher_shift = teacher_origin - new_teacher_origin;
    const T factor = exp2_of(shift), teacher_factor = exp2_of(teacher_shift);
    weighted = teacher_factor * (weighted + zq * (teacher_shift - shift));
    zq *= teacher_factor;
    z *= factor;
    z_one *= P == 0            ? exp2_of(one_origin - new_one_origin)
             : at_one < P == 0 ? 1
                               : P > (factor, T(0), T(0), T(0));
    origin = new_origin;
    one_origin = new_one_origin;
    teacher_origin = new_teacher_origin;
  }
};

template <bool kTeacher, bool kForward, int P, typename T, int N>
__device__ void add(OnlineSums<T, P>& sums, const T (&s)[N], const T (&t)[N],
                    const Factors<T>& factors) {
  T most = s[0], teacher_most = t[0];
#pragma unroll
  for (int j = 1; j < N; ++j) {
    most = fmax(most, s[j]);
    if (kTeacher) teacher_most = fmax(teacher_most, t[j]);
  }
  bool higher = fma(most, factors.at_t, -sums.origin) > 0;
  if (P == 0) higher = higher || fma(most, factors.at_one, -sums.one_origin) > 0;
  if (kTeacher) higher = higher || fma(teacher_most, factors.at_t, -sums.teacher_origin) > 0;
  if (higher) {
    sums.move_to(
        fmax(sums.origin, most * factors.at_t),
        P == 0 ? fmax(sums.one_origin, most * factors.at_one) : sums.one_origin,
        kTeacher ? fmax(sums.teacher_origin, teacher_most * factors.at_t) : sums.teacher_origin);
  }
#pragma unroll
  for (int j = 0; j < N; ++j) {
    const T x = fma(s[j], factors.at_t, -sums.origin);
    const T e = exp2_of(x);
    sums.z += e;
    if (P != 1) sums.z_one += at_one<P>(e, s[j], factors.at_one, sums.one_origin);
    if (!kTeacher) continue;
    const T y = fma(t[j], factors.at_t, -sums.teacher_origin);
    const T f = exp2_of(y);
    sums.zq += f;
    if (kForward && f > 0) sums.weighted = fma(f, y - x, sums.weighted);
  }
}

}  // namespace temper::gpu
