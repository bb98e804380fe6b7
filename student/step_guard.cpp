#include "student/step_guard.h"

#include <c10/util/StringUtil.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace temper {

StepGuard::StepGuard(const TrainConfig& config)
    : limit_(config.skip_limit),
      spike_factor_(config.spike_factor),
      window_(static_cast<size_t>(config.spike_window)) {}

// The median: a spike that was taken, or a few, do not move it.
double StepGuard::spike_limit() const {
  if (spike_factor_ == 0 || losses_.size() < window_)
    return std::numeric_limits<double>::infinity();
  std::vector<double> sorted(losses_.begin(), losses_.end());
  std::sort(sorted.begin(), sorted.end());
  const size_t half = sorted.size() / 2;
  const double median =
      sorted.size() % 2 == 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
  // A factor says nothing about losses below 0 (a confidence penalty can make them).
  return median > 0 ? spike_factor_ * median : std::numeric_limits<double>::infinity();
}

std::string StepGuard::judge(double loss, double grad_norm) {
  std::string reason;
  if (!std::isfinite(loss) || !std::isfinite(grad_norm)) {
    reason = c10::str("the loss is ", loss, " and the gradient's norm ", grad_norm);
  } else if (loss > spike_limit()) {
    reason = c10::str("the loss is ", loss, ", more than --train.spike-factor ", spike_factor_,
                      " times the median of the last ", window_, " steps, ",
                      spike_limit() / spike_factor_);
  }
  if (!reason.empty()) {
    ++in_a_row_;
    return reason;
  }
  in_a_row_ = 0;
  if (spike_factor_ > 0) {
    losses_.push_back(loss);
    if (losses_.size() > window_) losses_.pop_front();
  }
  return reason;
}

void StepGuard::restore(const State& state) {
  losses_ = state.losses;
  in_a_row_ = state.in_a_row;
}

}  // namespace temper
