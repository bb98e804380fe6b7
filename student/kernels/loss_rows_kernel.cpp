// Note [Walks over a row]
// ~~~~~~~~~~~~~~~~~~~~~~~
// A row of 50,000 logits in bfloat16 has 100 KB, its copy in float 200 KB: both stay in a core's
// second-level cache, so only the first walk and the last one touch memory.
//   1. copy to float, find the largest (student and teacher);
//   2. exponentials and their sums at both temperatures;
//   3. a divergence's terms, which need the sums of 2, then the gradient;
//   4. round to the logits' type, into the gradient's memory.
// Forward KL with the teacher's logits, what is trained with most, takes two (forward_kl_row.h);
// what hard labels have beyond a plain cross-entropy takes two more (label_terms_row.h).
//
// Where T is whole, exp(z) is a power of exp(z/T): one exponential serves both softmaxes.
//
// What stands for an id of no probability is a number whose exponential is 0, never an infinity:
// differences stay finite.
#include "student/kernels/loss_rows_kernel.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "student/kernels/divergence_terms.h"
#include "student/kernels/forward_kl_row.h"
#include "student/kernels/label_terms_row.h"
#include "student/kernels/row_copy.h"
#include "student/kernels/row_sums.h"
#include "student/kernels/row_vectors.h"

#if defined(CPU_CAPABILITY_AVX512)
#define TEMPER_LOSS_ROWS_KERNEL loss_rows_kernel_avx512
#elif defined(CPU_CAPABILITY_AVX2)
#define TEMPER_LOSS_ROWS_KERNEL loss_rows_kernel_avx2
#else
#define TEMPER_LOSS_ROWS_KERNEL loss_rows_kernel_default
#endif

namespace temper {
namespace {

double log_sum_exp(const double* values, size_t count) {
  const double most = *std::max_element(values, values + count);
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += std::exp(values[i] - most);
  return most + std::log(sum);
}

template <typename T>
class RowLoss {
 public:
  RowLoss(const LossRows& block, void* scratch)
      : block_(block),
        n_(block.vocab),
        padded_(padded_vocab(block.vocab)),
        s_(static_cast<T*>(scratch)),
        t_(s_ + padded_),
        u_(t_ + padded_),
        forward_kl_(block, s_, t_, u_) {}

  void operator()(int64_t row);

 private:
  /// Σ of the tail's exponentials, relative to its own largest logit, and what that is less the
  /// row's.
  struct Tail {
    double sum, below;
  };
  bool load(int64_t row);
  void compute(int64_t row, const RowScales& scales, double weight);
  void hard_labels(const RowScales& scales);
  template <int P, typename D>
  void dense_terms(const RowScales& scales, const D& terms);
  template <int P>
  void sparse(int64_t row, const RowScales& scales);
  void bucket(int64_t row, const RowScales& scales, const Tail& tail);
  /// t_ = soft · s_, and the hard part of factor · u_.
  void dense_gradient(double soft, double factor, const RowScales& scales);
  void entries_and_dense(int64_t row, const RowScales& scales);

  static Vec<T> load(const T* from, int64_t i) { return Vec<T>::loadu(from + i); }
  static Vec<T> constant(double value) { return Vec<T>(static_cast<T>(value)); }

  const LossRows& block_;
  int64_t n_, padded_;
  T *s_, *t_, *u_;  // copies of the row; the gradient ends in t_
  T max_ = 0, teacher_max_ = 0;
  RowSums sums_;
  double label_terms_ = 0;                     // of add_label_terms()
  double z_ = 0;                               // Σ exp((z − max)/T)
  std::vector<double> x_, log_p_, log_q_, g_;  // of sparse entries
  ForwardKlRow<T> forward_kl_;
};

// Without soft targets: s_ becomes exp(z − max).
template <typename T>
void RowLoss<T>::hard_labels(const RowScales& scales) {
  BlockSums<T, 1> sums;
  walk<T>(padded_, sums, [&](int64_t i) {
    const Vec<T> e = exp_of(load(s_, i) - Vec<T>(max_));
    sums.add(0, e);
    e.store(s_ + i);
  });
  sums_.z_one = sums[0];
  const Vec<T> hard = constant(scales.hard / sums_.z_one), flat = constant(scales.flat);
  walk<T>(padded_, [&](int64_t i) { (load(s_, i) * hard - flat).store(t_ + i); });
}

// Any divergence with the teacher's logits in t_: s_ becomes p, t_ first p·g, u_ exp(z − max).
template <typename T>
template <int P, typename D>
void RowLoss<T>::dense_terms(const RowScales& scales, const D& terms) {
  const Vec<T> inverse = constant(1 / block_.temperature);
  BlockSums<T, 3> sums;
  walk<T>(padded_, sums, [&](int64_t i) {
    const Vec<T> x = (load(s_, i) - Vec<T>(max_)) * inverse;
    const Vec<T> y = (load(t_, i) - Vec<T>(teacher_max_)) * inverse;
    const Vec<T> e = exp_of(x);
    const Vec<T> one = at_one<P>(x, e, block_.temperature);
    sums.add(0, e);
    sums.add(1, exp_of(y));
    sums.add(2, one);
    x.store(s_ + i);
    y.store(t_ + i);
    one.store(u_ + i);
  });
  z_ = sums[0];
  sums_.z_one = sums[2];
  const Vec<T> log_z = constant(std::log(z_)), log_zq = constant(std::log(sums[1]));
  BlockSums<T, 2> parts;
  walk<T>(padded_, parts, [&](int64_t i) {
    const Vec<T> log_p = load(s_, i) - log_z, log_q = load(t_, i) - log_zq;
    const Vec<T> p = exp_of(log_p);
    const Terms<Vec<T>> of = terms(log_p, log_q, p, exp_of(log_q));
    parts.add(0, of.value);
    parts.add(1, of.pg);
    p.store(s_ + i);
    of.pg.store(t_ + i);
  });
  sums_.divergence = parts[0];
  const Vec<T> soft = constant(scales.soft), mean = constant(scales.soft * parts[1]);
  const Vec<T> hard = constant(scales.hard / sums_.z_one), flat = constant(scales.flat);
  walk<T>(padded_, [&](int64_t i) {
    (load(t_, i) * soft - load(s_, i) * mean + (load(u_, i) * hard - flat)).store(t_ + i);
  });
}

// The dense part of a sparse row: s_ becomes exp((z − max)/T), u_ exp(z − max).
template <typename T>
template <int P>
void RowLoss<T>::sparse(int64_t row, const RowScales& scales) {
  const int64_t* ids = block_.ids + row * block_.entries;
  const bool apart = block_.soft == SoftRows::kBucket;
  x_.resize(static_cast<size_t>(block_.entries));
  double of_ids = 0, of_ids_one = 0;
  for (int64_t k = 0; k < block_.entries; ++k) {
    const double z = static_cast<double>(s_[ids[k]]) - static_cast<double>(max_);
    x_[static_cast<size_t>(k)] = z / block_.temperature;
    of_ids += std::exp(z / block_.temperature);
    of_ids_one += std::exp(z);
  }
  // What the dense exponentials are relative to. Those of a tail to its own largest logit: at a
  // small T they would all be 0 beside the K's.
  T dense_max = max_;
  if (apart) {  // what is left of the sums is the tail itself, not a difference
    for (int64_t k = 0; k < block_.entries; ++k) s_[ids[k]] = kNoLogit<T>;
    const T most = *std::max_element(s_, s_ + n_);
    if (most > kNoLogit<T>) dense_max = most;
  }
  const double below = static_cast<double>(dense_max) - static_cast<double>(max_);
  const Vec<T> inverse = constant(1 / block_.temperature);
  BlockSums<T, 2> sums;
  walk<T>(padded_, sums, [&](int64_t i) {
    const Vec<T> x = (load(s_, i) - Vec<T>(dense_max)) * inverse;
    const Vec<T> e = exp_of(x);
    const Vec<T> one = at_one<P>(x, e, block_.temperature);
    sums.add(0, e);
    sums.add(1, one);
    e.store(s_ + i);
    one.store(u_ + i);
  });
  z_ = sums[0] * std::exp(below / block_.temperature) + (apart ? of_ids : 0.0);
  sums_.z_one = sums[1] * std::exp(below) + (apart ? of_ids_one : 0.0);
  if (apart) {
    bucket(row, scales, {sums[0], below});
  } else {
    entries_and_dense(row, scales);
  }
}

template <typename T>
void RowLoss<T>::dense_gradient(double soft, double factor, const RowScales& scales) {
  const Vec<T> of_soft = constant(soft);
  const Vec<T> hard = constant(factor * scales.hard / sums_.z_one), flat = constant(scales.flat);
  walk<T>(padded_,
          [&](int64_t i) { (load(s_, i) * of_soft + (load(u_, i) * hard - flat)).store(t_ + i); });
}

// K ids and their complement are K + 1 outcomes.
template <typename T>
void RowLoss<T>::bucket(int64_t row, const RowScales& scales, const Tail& tail) {
  const auto entries = static_cast<size_t>(block_.entries);
  const int64_t* ids = block_.ids + row * block_.entries;
  const double* given = block_.log_q + row * block_.entries;
  const double log_tail = block_.scalars[row];
  log_p_.assign(entries + 1, 0);
  log_q_.assign(entries + 1, log_tail);
  g_.assign(entries + 1, 0);
  // Rounded on the wire, the K no longer add up to exactly what the tail leaves.
  const double shift = std::log1p(-std::exp(log_tail)) - log_sum_exp(given, entries);
  for (size_t k = 0; k < entries; ++k) {
    log_p_[k] = x_[k] - std::log(z_);
    log_q_[k] = given[k] + shift;
  }
  log_p_[entries] = std::log(tail.sum) + tail.below / block_.temperature - std::log(z_);
  with_terms(block_.divergence, block_.beta, [&](const auto& terms) {
    double mean = 0;
    sums_.divergence = 0;
    for (size_t k = 0; k <= entries; ++k) {
      const Terms<double> of =
          terms(log_p_[k], log_q_[k], std::exp(log_p_[k]), std::exp(log_q_[k]));
      sums_.divergence += of.value;
      g_[k] = of.pg;
      mean += of.pg;
    }
    for (size_t k = 0; k <= entries; ++k) g_[k] -= std::exp(log_p_[k]) * mean;
  });
  // Each id's share of the student's own tail; those of the K are written over.
  dense_gradient(tail.sum > 0 ? scales.soft * g_[entries] / tail.sum : 0.0, std::exp(tail.below),
                 scales);
  for (size_t k = 0; k < entries; ++k) {
    const double one = std::exp(x_[k] * block_.temperature) / sums_.z_one;
    t_[ids[k]] = static_cast<T>(scales.soft * g_[k] + scales.hard * one - scales.flat);
  }
}

// Soft targets on the entries alone, against the student's whole softmax.
template <typename T>
void RowLoss<T>::entries_and_dense(int64_t row, const RowScales& scales) {
  const auto entries = static_cast<size_t>(block_.entries);
  const int64_t* ids = block_.ids + row * block_.entries;
  dense_gradient(scales.soft / z_, 1.0, scales);
  if (block_.soft == SoftRows::kDraws) {
    const double share = 1.0 / static_cast<double>(entries);
    sums_.divergence = -block_.scalars[row];
    for (size_t k = 0; k < entries; ++k) {
      sums_.divergence -= share * (x_[k] - std::log(z_));
      t_[ids[k]] -= static_cast<T>(scales.soft * share);
    }
    return;
  }
  const double* given = block_.log_q + row * block_.entries;
  const double norm = log_sum_exp(given, entries);
  sums_.divergence = 0;
  for (size_t k = 0; k < entries; ++k) {
    const double log_q = given[k] - norm;
    const double q = std::exp(log_q);
    sums_.divergence += where_positive(q, q * (log_q - (x_[k] - std::log(z_))));
    t_[ids[k]] -= static_cast<T>(scales.soft * q);
  }
}

// The whole row into s_, the teacher's into t_. False if a logit is no number.
template <typename T>
bool RowLoss<T>::load(int64_t row) {
  max_ = load_part<T>(block_.logits, block_.dtype, row * n_, n_, s_, padded_);
  teacher_max_ = 0;
  if (block_.soft == SoftRows::kDense) {
    teacher_max_ = load_part<T>(block_.teacher, block_.teacher_dtype, row * n_, n_, t_, padded_);
    if (!is_number(teacher_max_)) return false;
  }
  if (!is_number(max_)) return false;
  sums_.label_logit = static_cast<double>(s_[block_.labels[row]]) - static_cast<double>(max_);
  sums_.mean_logit = 0;
  if (block_.smoothing > 0) {
    for (int64_t i = 0; i < n_; ++i)
      sums_.mean_logit += static_cast<double>(s_[i]) - static_cast<double>(max_);
    sums_.mean_logit /= static_cast<double>(n_);
  }
  return true;
}

// Of what load() has loaded: the gradient to memory.
template <typename T>
void RowLoss<T>::compute(int64_t row, const RowScales& scales, double weight) {
  sums_.divergence = 0;
  if (block_.soft == SoftRows::kNone) {
    hard_labels(scales);
  } else {
    with_power(block_.temperature, [&](auto power) {
      constexpr int kPower = decltype(power)::value;
      if (block_.soft != SoftRows::kDense) return sparse<kPower>(row, scales);
      with_terms(block_.divergence, block_.beta,
                 [&](const auto& terms) { dense_terms<kPower>(scales, terms); });
    });
  }
  if (block_.has_label_terms()) {
    label_terms_ = add_label_terms(block_, row, static_cast<double>(max_), weight, sums_, s_, t_);
  } else {
    t_[block_.labels[row]] -= static_cast<T>(scales.hard * (1 - block_.smoothing));
  }
  store_part(t_, n_, block_.dtype, row * n_, block_.gradient);
}

template <typename T>
void RowLoss<T>::operator()(int64_t row) {
  const double weight = block_.weights != nullptr ? block_.weights[row] : 1.0;
  const bool apart = block_.has_label_terms();  // then these do the hard labels
  const double hard = apart ? 0.0 : weight * block_.hard_weight;
  const RowScales scales = {weight * block_.soft_weight / block_.temperature, hard,
                            hard * block_.smoothing / static_cast<double>(n_)};
  bool numbers = true;
  if (!apart && block_.soft == SoftRows::kDense && is_forward(block_.divergence, block_.beta)) {
    with_power(block_.temperature, [&](auto power) {
      numbers = forward_kl_.template compute<decltype(power)::value>(row, scales, sums_);
    });
  } else {
    numbers = load(row);
    if (numbers) compute(row, scales, weight);
  }
  if (!numbers) {
    std::fill(t_, t_ + n_, std::numeric_limits<T>::quiet_NaN());
    store_part(t_, n_, block_.dtype, row * n_, block_.gradient);
    block_.divergences[row] = block_.cross_entropies[row] = block_.losses[row] =
        std::numeric_limits<double>::quiet_NaN();
    return;
  }
  const double log_z = std::log(sums_.z_one);
  const double cross_entropy = log_z - sums_.label_logit;
  const double smoothed =
      (1 - block_.smoothing) * cross_entropy + block_.smoothing * (log_z - sums_.mean_logit);
  block_.divergences[row] = sums_.divergence;
  block_.cross_entropies[row] = cross_entropy;
  block_.losses[row] = weight * (block_.soft_weight * sums_.divergence +
                                 (apart ? label_terms_ : block_.hard_weight * smoothed));
}

template <typename T>
void run(const LossRows& block, int64_t begin, int64_t end, void* scratch) {
  RowLoss<T> loss(block, scratch);
  for (int64_t row = begin; row < end; ++row) loss(row);
}

}  // namespace

void TEMPER_LOSS_ROWS_KERNEL(const LossRows& block, int64_t begin, int64_t end, void* scratch) {
  if (block.dtype == ValueDtype::kDouble) {
    run<double>(block, begin, end, scratch);
  } else {
    run<float>(block, begin, end, scratch);
  }
}

}  // namespace temper
