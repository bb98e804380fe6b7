#include "student/calibration.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace temper {

namespace {

constexpr int kMaxPasses = 20;
// A Newton step this small is taken without a further look: what is left of the error is of the
// order of its square.
constexpr double kLastStep = 3e-4;
constexpr double kLongestStep = 1.5;  // of log β, while no bracket is known

/// Where the slope is zero, by the cubic that takes u and du/dslope at both points (inverse Hermite
/// interpolation).
double inverse_hermite(const TemperatureSearch::Point& a, const TemperatureSearch::Point& b) {
  const double h = b.slope - a.slope;
  const double t = -a.slope / h;
  const double da = h / a.change;
  const double db = h / b.change;
  const double t2 = t * t;
  const double t3 = t2 * t;
  return (2 * t3 - 3 * t2 + 1) * a.u + (t3 - 2 * t2 + t) * da + (3 * t2 - 2 * t3) * b.u +
         (t3 - t2) * db;
}

}  // namespace

CalibrationSums& CalibrationSums::operator+=(const CalibrationSums& other) {
  nll += other.nll;
  slope += other.slope;
  curvature += other.curvature;
  tokens += other.tokens;
  return *this;
}

std::vector<CalibrationSums> all_reduce(const std::vector<CalibrationSums>& mine,
                                        const Communicator& comm) {
  at::Tensor totals = at::empty({static_cast<int64_t>(mine.size()), 4}, at::kDouble);  // (fits, 4)
  double* total = totals.mutable_data_ptr<double>();
  for (const CalibrationSums& sums : mine) {
    for (const double value :
         {sums.nll, sums.slope, sums.curvature, static_cast<double>(sums.tokens)})
      *total++ = value;
  }
  comm.all_reduce(totals);
  const double* value = totals.const_data_ptr<double>();
  std::vector<CalibrationSums> result;
  for (size_t i = 0; i < mine.size(); ++i, value += 4)
    result.push_back({value[0], value[1], value[2], static_cast<int64_t>(value[3])});
  return result;
}

CalibrationSums calibration_sums(const at::Tensor& logits, const at::Tensor& labels, double beta) {
  const at::NoGradGuard no_grad;
  const at::Tensor index = labels.unsqueeze(1);                    // (N, 1)
  const at::Tensor z = logits - logits.amax(1, /*keepdim=*/true);  // (N, V)
  const at::Tensor log_p = at::log_softmax(z * beta, 1);           // (N, V)
  const at::Tensor p = log_p.exp();                                // (N, V)
  // An id that is ruled out (z = −inf) has p = 0 and adds nothing to the moments.
  const at::Tensor finite = at::where(at::isfinite(z), z, 0.0);   // (N, V)
  const at::Tensor mean = (p * finite).sum(1, /*keepdim=*/true);  // (N, 1)
  CalibrationSums sums;
  sums.tokens = logits.size(0);
  sums.nll = -log_p.gather(1, index).sum(at::kDouble).item<double>();
  sums.slope = (mean - z.gather(1, index)).sum(at::kDouble).item<double>();
  sums.curvature = (p * (finite - mean).square_()).sum(at::kDouble).item<double>();
  return sums;
}

double TemperatureSearch::beta() const { return std::exp(u_); }

void TemperatureSearch::take(const CalibrationSums& sums) {
  const double lowest = -std::log(kMaxTemperature);
  const double highest = -std::log(kMinTemperature);
  TORCH_CHECK_VALUE(sums.tokens > 0, "there is no valid token to fit the temperature on");
  const double n = static_cast<double>(sums.tokens);
  TORCH_CHECK(std::isfinite(sums.nll) && std::isfinite(sums.slope) && std::isfinite(sums.curvature),
              "the model's log-likelihood at temperature ", std::exp(-u_), " is no finite number");
  if (++passes_ == 1) nll_before_ = sums.nll / n;
  done_ = passes_ == kMaxPasses;
  const Point here{u_, sums.slope / n, sums.curvature / n * std::exp(u_)};
  if (here.slope == 0) {
    flat_ = here.change == 0;  // every label is certain to the last bit, or all logits are equal
    done_ = true;
    return;
  }
  (here.slope < 0 ? below_ : above_) = here;

  // Newton in u: the slope's root by its tangent. Without curvature only the direction is known.
  const double newton =
      here.change > 0 ? -here.slope / here.change : (here.slope < 0 ? kLongestStep : -kLongestStep);
  if (std::abs(newton) < kLastStep) {
    u_ += newton;
    done_ = true;
    return;
  }
  // Steps that do not shrink lead into a flat tail (every label the most likely id, say): the
  // minimum is far, if there is one.
  const bool tail = passes_ > 2 && !(below_ && above_) && std::abs(newton) > 0.5 * std::abs(last_);
  double next = u_ + (tail ? std::copysign(kLongestStep, newton)
                           : std::clamp(newton, -kLongestStep, kLongestStep));
  if (below_ && above_) {
    const double low = below_->u, high = above_->u;  // the slope rises with u
    if (below_->change > 0 && above_->change > 0) next = inverse_hermite(*below_, *above_);
    if (!(next > low && next < high)) next = u_ + newton;
    if (!(next > low && next < high)) next = 0.5 * (low + high);
  }
  next = std::clamp(next, lowest, highest);
  done_ = done_ || next == u_;  // at a bound, and the minimum lies beyond it
  last_ = next - u_;
  u_ = next;
}

CalibrationFit TemperatureSearch::fit() const {
  CalibrationFit fit;
  fit.temperature = std::exp(-u_);
  fit.passes = passes_;
  fit.nll_before = nll_before_;
  fit.undetermined = flat_ || u_ <= -std::log(kMaxTemperature) || u_ >= -std::log(kMinTemperature);
  return fit;
}

CalibrationFit fit_temperature(const std::function<CalibrationSums(double beta)>& pass) {
  TemperatureSearch search;
  while (!search.done()) search.take(pass(search.beta()));
  return search.fit();
}

}  // namespace temper
