// Soft targets of a few ids, against the student's whole softmax: each kind's divergence, and its
// gradient at these ids. Included by loss_rows_kernel.cu.
#pragma once

#include <cstdint>

#include "student/cuda/online_sums.cuh"
#include "student/cuda/row_walk.cuh"
#include "student/kernels/divergence_terms.h"
#include "student/loss_rows.h"

namespace temper::gpu {

/// A logit's exponent: Note [Exponents].
struct Exponent {
  double factor, origin;

  /// The exponent to the base e.
  __device__ double of(double logit) const { return kLn2 * (logit * factor - origin); }
};

/// A row's coefficients and sums, the same for every thread.
struct Row {
  double soft, hard, flat;  // of the gradient: divergence by logits/T, cross-entropy, smoothing
  Exponent at_t, at_one;
  double z, z_one, zq;  // sums of the exponentials at T, at 1, and of the teacher's

  __device__ double log_p(double logit) const { return at_t.of(logit) - log(z); }
  __device__ double hard_part(double logit) const {
    return hard * exp(at_one.of(logit)) / z_one - flat;
  }
};

/// The sparse targets of a row: ids, what the teacher says of them, and the student's logits.
template <typename T>
struct Entries {
  const int64_t* ids;
  const double* log_q;  // null for draws
  const T* logits;      // in shared memory
  int count;

  /// log Σ exp of log_q.
  __device__ double log_sum() const {
    double most[1] = {-INFINITY};
    for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x))
      most[0] = fmax(most[0], log_q[k]);
    combine<Most>(most, -INFINITY);
    double sum[1] = {0};
    for (int k = static_cast<int>(threadIdx.x); k < count; k += static_cast<int>(blockDim.x))
      sum[0] += exp(log_q[k] - most[0]);
    combine<Plus>(sum, 0);
    return most[0] + log(sum[0]);
  }
};

/// The gradient by logits/T of the ids that the sums are over is `share` times an id's part of
/// these sums; the entries have their own instead.
struct SparsePart {
  double divergence, share;
};

// Each kind's sums() takes log_rest: log Σ exp(x) of what the dense sums are over.

// K ids and their complement, which the sums are over, are K + 1 outcomes.
template <typename T, typename D>
struct Bucket {
  Entries<T> entries;
  D terms;
  double shift, log_tail, mean;

  __device__ Terms<double> of(const Row& row, int k) const {
    const double log_p = row.log_p(static_cast<double>(entries.logits[k]));
    const double log_q = entries.log_q[k] + shift;
    return terms(log_p, log_q, exp(log_p), exp(log_q));
  }

  __device__ SparsePart sums(const Row& row, double log_rest) {
    // Rounded on the wire, the K no longer add up to exactly what the tail leaves.
    shift = log1p(-exp(log_tail)) - entries.log_sum();
    double parts[2] = {0, 0};
    for (int k = static_cast<int>(threadIdx.x); k < entries.count;
         k += static_cast<int>(blockDim.x)) {
      const Terms<double> term = of(row, k);
      parts[0] += term.value;
      parts[1] += term.pg;
    }
    combine<Plus>(parts, 0);
    const double log_p = log_rest - log(row.z);
    const Terms<double> tail = terms(log_p, log_tail, exp(log_p), exp(log_tail));
    mean = parts[1] + tail.pg;
    return {parts[0] + tail.value, tail.pg - exp(log_p) * mean};
  }

  __device__ double gradient(const Row& row, int k) const {
    return of(row, k).pg - exp(row.log_p(static_cast<double>(entries.logits[k]))) * mean;
  }
};

// The K entries are all there is.
template <typename T>
struct Renormalised {
  Entries<T> entries;
  double norm;

  __device__ SparsePart sums(const Row& row, double) {
    norm = entries.log_sum();
    double sum[1] = {0};
    for (int k = static_cast<int>(threadIdx.x); k < entries.count;
         k += static_cast<int>(blockDim.x)) {
      const double log_q = entries.log_q[k] - norm, q = exp(log_q);
      sum[0] += where_positive(q, q * (log_q - row.log_p(static_cast<double>(entries.logits[k]))));
    }
    combine<Plus>(sum, 0);
    return {sum[0], 1};
  }

  __device__ double gradient(const Row& row, int k) const {
    return exp(row.log_p(static_cast<double>(entries.logits[k]))) - exp(entries.log_q[k] - norm);
  }
};

// n draws, each of the same weight; an id may be among them more than once.
template <typename T>
struct Draws {
  Entries<T> entries;
  double entropy;

  __device__ SparsePart sums(const Row& row, double) {
    double sum[1] = {0};
    for (int k = static_cast<int>(threadIdx.x); k < entries.count;
         k += static_cast<int>(blockDim.x))
      sum[0] -= row.log_p(static_cast<double>(entries.logits[k]));
    combine<Plus>(sum, 0);
    return {sum[0] / entries.count - entropy, 1};
  }

  __device__ double gradient(const Row& row, int k) const {
    int times = 0;
    for (int other = 0; other < entries.count; ++other)
      times += entries.ids[other] == entries.ids[k];
    return exp(row.log_p(static_cast<double>(entries.logits[k]))) -
           static_cast<double>(times) / entries.count;
  }
};

template <SoftRows kSoft, typename T, typename D>
__device__ auto sparse_targets(const Entries<T>& entries, const D& terms, double scalar) {
  if constexpr (kSoft == SoftRows::kBucket) return Bucket<T, D>{entries, terms, 0, scalar, 0};
  if constexpr (kSoft == SoftRows::kRenormalised) return Renormalised<T>{entries, 0};
  if constexpr (kSoft == SoftRows::kDraws) return Draws<T>{entries, scalar};
}

}  // namespace temper::gpu
