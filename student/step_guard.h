// Which steps are not taken: those whose loss or gradient is no finite number, and, if asked, those
// whose loss is far above that of the steps before.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "student/train_config.h"

namespace temper {

class StepGuard {
 public:
  explicit StepGuard(const TrainConfig& config);

  /// Of a step's loss (nats per token) and the norm of its gradient over all ranks: why it must be
  /// skipped, or empty. Every rank judges the same numbers, so all of them skip, or none.
  std::string judge(double loss, double grad_norm);

  /// train.skip-limit steps in a row were skipped: the job must end.
  bool exhausted() const { return in_a_row_ >= limit_; }
  int64_t in_a_row() const { return in_a_row_; }

  /// A loss above this is a spike; infinite while too few steps are known, or where the guard is
  /// off.
  double spike_limit() const;

  /// What a run that goes on later must know: the last losses, oldest first, and the skipped steps
  /// in a row.
  struct State {
    std::deque<double> losses;
    int64_t in_a_row = 0;
  };
  State state() const { return {losses_, in_a_row_}; }
  void restore(const State& state);
  /// The next losses are measured by each other, as at the beginning, and not by those before: for
  /// a run that goes on after the guard ended it. Its losses may have risen for good, and what is
  /// skipped moves no median: each step would be a spike for ever.
  void forget_losses() { losses_.clear(); }

 private:
  int64_t limit_;
  double spike_factor_;
  size_t window_;
  std::deque<double> losses_;  // of the last steps that were taken, at most window_
  int64_t in_a_row_ = 0;
};

}  // namespace temper
