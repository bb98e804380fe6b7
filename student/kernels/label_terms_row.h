// What label_loss.h has beyond a plain cross-entropy, for a row whose other gradient is done: two
// walks of their own, which only those pay for who ask for these terms.
//
// Compiled once for each instruction set, each time in a namespace of its own, as LibTorch's vector
// classes are: the linker must not take one's code for another's.
#pragma once

#include <cmath>

#include "student/kernels/row_copy.h"
#include "student/kernels/row_sums.h"
#include "student/kernels/row_vectors.h"
#include "student/loss_rows.h"

namespace temper {
inline namespace CPU_CAPABILITY {

/// Adds the terms' gradient to `gradient` and returns their value, the cross-entropy of the hard
/// labels included; both without the token's weight, which `weight` is for the gradient. `logits`
/// is room for a padded row, `max` the row's largest logit; mean_logit of `sums` is used where
/// labels are smoothed.
template <typename T>
double add_label_terms(const LossRows& block, int64_t row, double max, double weight,
                       const RowSums& sums, T* logits, T* gradient) {
  const int64_t n = block.vocab, padded = padded_vocab(n);
  const auto constant = [](double value) { return Vec<T>(static_cast<T>(value)); };
  load_part<T>(block.logits, block.dtype, row * n, n, logits, padded);
  const double tau = block.hard_temperature;
  const Vec<T> most = constant(max), inverse = constant(1 / tau);

  BlockSums<T, 3> parts;  // Σ e, Σ e·x at T = 1, Σ exp(x/τ); x = z − max
  walk<T>(padded, parts, [&](int64_t i) {
    const Vec<T> x = Vec<T>::loadu(logits + i) - most;
    const Vec<T> e = exp_of(x);
    parts.add(0, e);
    parts.add(1, where_positive(e, e * x));
    parts.add(2, exp_of(x * inverse));
  });
  const double log_z = std::log(parts[0]), log_z_tau = std::log(parts[2]);
  const double entropy = log_z - parts[1] / parts[0];
  const double hard = block.hard_weight / tau;  // of p_τ − y

  const Vec<T> of_tau = constant(weight * hard / parts[2]);
  const Vec<T> of_one = constant(weight / parts[0]);
  const Vec<T> of_log = constant(block.entropy_weight);
  const Vec<T> level =
      constant(block.entropy_weight * (entropy - log_z) + 2 * block.z_weight * (log_z + max));
  const Vec<T> flat = constant(weight * hard * block.smoothing / static_cast<double>(n));
  walk<T>(padded, [&](int64_t i) {
    const Vec<T> x = Vec<T>::loadu(logits + i) - most;
    const Vec<T> e = exp_of(x);
    const Vec<T> regular = where_positive(e, e * (x * of_log + level)) * of_one;
    const Vec<T> sum = Vec<T>::loadu(gradient + i) + exp_of(x * inverse) * of_tau - flat + regular;
    sum.store(gradient + i);
  });
  gradient[block.labels[row]] -= static_cast<T>(weight * hard * (1 - block.smoothing));

  const double of_label = log_z_tau - sums.label_logit / tau;
  const double of_all = log_z_tau - sums.mean_logit / tau;
  const double cross_entropy =
      block.smoothing > 0 ? (1 - block.smoothing) * of_label + block.smoothing * of_all : of_label;
  return block.hard_weight * cross_entropy - block.entropy_weight * entropy +
         block.z_weight * (log_z + max) * (log_z + max);
}

}  // namespace CPU_CAPABILITY
}  // namespace temper
