// What the walks over a row share: its coefficients and its sums.
//
// Compiled once for each instruction set, each time in a namespace of its own, as LibTorch's vector
// classes are: the linker must not take one's code for another's.
#pragma once

#include <cmath>

#include "student/kernels/row_copy.h"
#include "student/kernels/row_vectors.h"

namespace temper {
inline namespace CPU_CAPABILITY {

/// Coefficients of a row's gradient, the token's weight in them.
struct RowScales {
  double soft;  ///< of the divergence's gradient by logits/T
  double hard;  ///< of the cross-entropy's
  double flat;  ///< what smoothing takes from every id
};

struct RowSums {
  double divergence = 0;
  double z_one = 0;        ///< Σ exp(z − max), the softmax's denominator at T = 1
  double label_logit = 0;  ///< less the largest
  double mean_logit = 0;   ///< less the largest; only where labels are smoothed
};

/// Whether a row with this largest logit has one at all. The fast exponential would make numbers of
/// what is none.
template <typename T>
bool is_number(T max) {
  return std::isfinite(max) && max > kNoLogit<T>;
}

/// exp(x) at T = 1 of x = (z − max)/T, from its exponential e at T; P as in power().
template <int P, typename T>
Vec<T> at_one(const Vec<T>& x, const Vec<T>& e, double temperature) {
  if constexpr (P == 0) return exp_of(x * Vec<T>(static_cast<T>(temperature)));
  return power<P>(e);
}

}  // namespace CPU_CAPABILITY
}  // namespace temper
