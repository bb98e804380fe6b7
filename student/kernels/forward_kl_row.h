// Forward KL against the teacher's logits, what is trained with most, in two walks over a row: a
// block of ids is loaded, and its exponentials are taken at once, relative to the largest logits so
// far; the last walk makes up for that with a factor for each block (online softmax, Milakov and
// Gimelshein 2018, arXiv 1805.02867).
//
// Compiled once for each instruction set, each time in a namespace of its own, as LibTorch's vector
// classes are: the linker must not take one's code for another's.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "student/kernels/row_copy.h"
#include "student/kernels/row_sums.h"
#include "student/kernels/row_vectors.h"
#include "student/loss_rows.h"

namespace temper {
inline namespace CPU_CAPABILITY {

template <typename T>
class ForwardKlRow {
 public:
  /// s, t, u: room for a padded row each, for the exponentials of student and teacher at T and,
  /// where these do not serve for it, of the student at 1.
  ForwardKlRow(const LossRows& block, T* s, T* t, T* u)
      : block_(block), n_(block.vocab), padded_(padded_vocab(block.vocab)), s_(s), t_(t), u_(u) {}

  /// The row's sums, and its gradient where it belongs. False, and nothing written, if a
  /// logit is no number. P as in power().
  template <int P>
  bool compute(int64_t row, const RowScales& scales, RowSums& sums) {
    if (!exponentials<P>(row, sums)) return false;
    gradient<P>(row, scales, sums);
    return true;
  }

 private:
  /// The largest logits that exponentials are relative to.
  struct Max {
    double student, teacher;
  };

  /// A shift where all ids so far had no probability stays finite.
  static constexpr double kFurthest = 1e300;

  /// Those of elements [begin, end), both loaded; their sums are added.
  template <int P>
  void block_exponentials(int64_t begin, int64_t end, const Max& max, BlockSums<T, 4>& sums) {
    const Vec<T> inverse(static_cast<T>(1 / block_.temperature));
    const Vec<T> student_max(static_cast<T>(max.student)), teacher_max(static_cast<T>(max.teacher));
    for (int64_t i = begin; i < end; i += Vec<T>::size()) {
      const Vec<T> x = (Vec<T>::loadu(s_ + i) - student_max) * inverse;
      const Vec<T> y = (Vec<T>::loadu(t_ + i) - teacher_max) * inverse;
      const Vec<T> e = exp_of(x), f = exp_of(y);
      const Vec<T> one = at_one<P>(x, e, block_.temperature);
      sums.add(0, e);
      sums.add(1, f);
      sums.add(2, one);
      sums.add(3, where_positive(f, f * (y - x)));
      e.store(s_ + i);
      f.store(t_ + i);
      if constexpr (P == 0) one.store(u_ + i);
    }
    sums.end_block();
  }

  template <int P>
  bool exponentials(int64_t row, RowSums& sums);
  template <int P>
  void gradient(int64_t row, const RowScales& scales, const RowSums& sums);

  const LossRows& block_;
  int64_t n_, padded_;
  T *s_, *t_, *u_;
  Max max_ = {};                   // of the row
  std::vector<Max> block_maxima_;  // as each block's exponentials were taken
  double z_ = 0, zq_ = 0;          // Σ exp((z − max)/T) of student and teacher
};

template <typename T>
template <int P>
bool ForwardKlRow<T>::exponentials(int64_t row, RowSums& sums) {
  const double temperature = block_.temperature;
  const int64_t label = block_.labels[row];
  max_ = {kNoLogit<T>, kNoLogit<T>};
  block_maxima_.clear();
  double z_one = 0, weighted = 0;  // the latter Σ f (y − x)
  double sum_of_logits = 0;
  z_ = zq_ = 0;
  for (int64_t begin = 0; begin < n_; begin += kSumBlock) {
    const int64_t count = std::min(kSumBlock, n_ - begin);
    const int64_t end = std::min(padded_, begin + kSumBlock);
    const T student =
        load_part<T>(block_.logits, block_.dtype, row * n_ + begin, count, s_ + begin, end - begin);
    const T teacher = load_part<T>(block_.teacher, block_.teacher_dtype, row * n_ + begin, count,
                                   t_ + begin, end - begin);
    if (std::isnan(student) || std::isnan(teacher)) return false;
    if (label >= begin && label < end) sums.label_logit = static_cast<double>(s_[label]);
    if (block_.smoothing > 0) {
      for (int64_t i = begin; i < begin + count; ++i) sum_of_logits += static_cast<double>(s_[i]);
    }
    const Max before = max_;
    max_ = {std::max(max_.student, static_cast<double>(student)),
            std::max(max_.teacher, static_cast<double>(teacher))};
    block_maxima_.push_back(max_);
    BlockSums<T, 4> of_block;
    block_exponentials<P>(begin, end, max_, of_block);
    if (begin > 0) {  // what was summed up so far, relative to the new maxima
      const double shift = std::max((before.student - max_.student) / temperature, -kFurthest);
      const double teacher_shift =
          std::max((before.teacher - max_.teacher) / temperature, -kFurthest);
      weighted = std::exp(teacher_shift) * (weighted + zq_ * (teacher_shift - shift));
      zq_ *= std::exp(teacher_shift);
      z_ *= std::exp(shift);
      z_one *= std::exp(shift * temperature);
    }
    z_ += of_block[0];
    zq_ += of_block[1];
    z_one += of_block[2];
    weighted += of_block[3];
  }
  if (!is_number(static_cast<T>(max_.student)) || !is_number(static_cast<T>(max_.teacher)))
    return false;
  sums.z_one = z_one;
  sums.divergence = weighted / zq_ - std::log(zq_) + std::log(z_);
  sums.label_logit -= max_.student;
  sums.mean_logit = sum_of_logits / static_cast<double>(n_) - max_.student;
  return true;
}

template <typename T>
template <int P>
void ForwardKlRow<T>::gradient(int64_t row, const RowScales& scales, const RowSums& sums) {
  const auto constant = [](double value) { return Vec<T>(static_cast<T>(value)); };
  const int64_t label = block_.labels[row];
  const Vec<T> flat = constant(scales.flat);
  for (int64_t begin = 0; begin < n_; begin += kSumBlock) {
    const int64_t end = std::min(padded_, begin + kSumBlock);
    const Max& max = block_maxima_[static_cast<size_t>(begin / kSumBlock)];
    const double shift = max.student - max_.student, teacher_shift = max.teacher - max_.teacher;
    const Vec<T> of_p = constant(scales.soft / z_ * std::exp(shift / block_.temperature));
    const Vec<T> of_q = constant(scales.soft / zq_ * std::exp(teacher_shift / block_.temperature));
    const Vec<T> hard = constant(scales.hard / sums.z_one * std::exp(shift));
    T values[kSumBlock];
    for (int64_t i = begin; i < end; i += Vec<T>::size()) {
      const Vec<T> e = Vec<T>::loadu(s_ + i);
      Vec<T> one;
      if constexpr (P == 0) {
        one = Vec<T>::loadu(u_ + i);
      } else {
        one = power<P>(e);
      }
      (e * of_p - Vec<T>::loadu(t_ + i) * of_q + (one * hard - flat)).store(values + i - begin);
    }
    if (label >= begin && label < end)
      values[label - begin] -= static_cast<T>(scales.hard * (1 - block_.smoothing));
    store_part(values, std::min(kSumBlock, n_ - begin), block_.dtype, row * n_ + begin,
               block_.gradient);
  }
}

}  // namespace CPU_CAPABILITY
}  // namespace temper
