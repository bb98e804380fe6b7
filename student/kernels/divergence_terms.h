// The formulas of divergence_kind.h, outcome by outcome: one text for vectors over ids, for numbers
// over the outcomes of a sparse row, and for the threads of a GPU.
//
// Compiled once for each instruction set, each time in a namespace of its own, as LibTorch's vector
// classes are: the linker must not take one's code for another's.
#pragma once

#include "student/divergence_kind.h"
#include "student/kernels/number_functions.h"
#if !defined(__CUDACC__)
#include "student/kernels/row_vectors.h"
#endif

namespace temper {
inline namespace CPU_CAPABILITY {

/// An outcome's share of a divergence, and p·dD/dp, of which the gradient is made:
/// dD/d(logit/T) = p·g − p·Σ(p·g).
template <typename V>
struct Terms {
  V value, pg;
};

struct ForwardKl {
  template <typename V>
  TEMPER_HOST_DEVICE Terms<V> operator()(const V& log_p, const V& log_q, const V&,
                                         const V& q) const {
    return {where_positive(q, q * (log_q - log_p)), V(0) - q};
  }
};

struct ReverseKl {
  template <typename V>
  TEMPER_HOST_DEVICE Terms<V> operator()(const V& log_p, const V& log_q, const V& p,
                                         const V&) const {
    const V terms = where_positive(p, p * (log_p - at_least(log_q, kLeastLogProbability)));
    return {terms, terms};
  }
};

struct JensenShannon {
  double beta;
  template <typename V>
  TEMPER_HOST_DEVICE Terms<V> operator()(const V& log_p, const V& log_q, const V& p,
                                         const V& q) const {
    // The weighted ones decide: of a denormal number nothing may be left, nor of its logarithm.
    const V of_p = V(1 - beta) * p, of_q = V(beta) * q;
    const V log_m = log_of(of_q + of_p);
    const V pg = where_positive(of_p, of_p * (log_p - log_m));
    return {where_positive(of_q, of_q * (log_q - log_m)) + pg, pg};
  }
};

struct Mixed {
  double beta;  // above 0 and below 1
  template <typename V>
  TEMPER_HOST_DEVICE Terms<V> operator()(const V& log_p, const V& log_q, const V& p,
                                         const V& q) const {
    const Terms<V> forward = ForwardKl()(log_p, log_q, p, q);
    const Terms<V> reverse = ReverseKl()(log_p, log_q, p, q);
    const V of_forward(beta), of_reverse(1 - beta);
    return {of_forward * forward.value + of_reverse * reverse.value,
            of_forward * forward.pg + of_reverse * reverse.pg};
  }
};

struct TotalVariation {
  template <typename V>
  TEMPER_HOST_DEVICE Terms<V> operator()(const V&, const V&, const V& p, const V& q) const {
    const V difference = p - q;
    return {V(0.5) * magnitude(difference), V(0.5) * p * sign_of(difference)};
  }
};

inline bool is_forward(Divergence divergence, double beta) {
  return divergence == Divergence::kForwardKl ||
         (divergence == Divergence::kJensenShannon && beta == 0) ||
         (divergence == Divergence::kMixed && beta == 1);
}

/// Calls `use` with the divergence's terms. β = 0 and 1 are the limits.
template <typename Use>
inline auto with_terms(Divergence divergence, double beta, const Use& use) {
  if (divergence == Divergence::kJensenShannon && beta > 0 && beta < 1)
    return use(JensenShannon{beta});
  if (divergence == Divergence::kMixed && beta > 0 && beta < 1) return use(Mixed{beta});
  if (divergence == Divergence::kTotalVariation) return use(TotalVariation{});
  const bool reverse = divergence == Divergence::kReverseKl ||
                       (divergence == Divergence::kJensenShannon && beta == 1) ||
                       (divergence == Divergence::kMixed && beta == 0);
  return reverse ? use(ReverseKl{}) : use(ForwardKl{});
}

}  // namespace CPU_CAPABILITY
}  // namespace temper
