#include "student/calibration.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <optional>

namespace temper {

namespace {

constexpr int kMaxPasses = 20;
// A Newton step this small is taken without a further look: what is left of the error is of the
// order of its square.
constexpr double kLastStep = 3e-4;
constexpr double kLongestStep = 1.5;  // of log β, while no bracket is known

/// The slope of the NLL against u = log β at one point.
struct Point {
  double u = 0;
  double slope = 0;   // NLL'(β)
  double change = 0;  // dNLL'(β)/du = NLL''(β)·β
};

/// Where the slope is zero, by the cubic that takes u and du/dslope at both points (inverse Hermite
/// interpolation).
double inverse_hermite(const Point& a, const Point& b) {
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

CalibrationFit fit_temperature(const std::function<CalibrationSums(double beta)>& pass) {
  const double lowest = -std::log(kMaxTemperature);
  const double highest = -std::log(kMinTemperature);
  CalibrationFit fit;
  std::optional<Point> below, above;  // the nearest points with slope < 0 and slope > 0
  bool flat = false;
  double u = 0, last = 0;
  while (fit.passes < kMaxPasses) {
    const CalibrationSums sums = pass(std::exp(u));
    ++fit.passes;
    TORCH_CHECK_VALUE(sums.tokens > 0, "there is no valid token to fit the temperature on");
    const double n = static_cast<double>(sums.tokens);
    TORCH_CHECK(
        std::isfinite(sums.nll) && std::isfinite(sums.slope) && std::isfinite(sums.curvature),
        "the model's log-likelihood at temperature ", std::exp(-u), " is no finite number");
    if (fit.passes == 1) fit.nll_before = sums.nll / n;
    const Point here{u, sums.slope / n, sums.curvature / n * std::exp(u)};
    if (here.slope == 0) {
      flat = here.change == 0;  // every label is certain to the last bit, or all logits are equal
      break;
    }
    (here.slope < 0 ? below : above) = here;

    // Newton in u: the slope's root by its tangent. Without curvature only the direction is known.
    const double newton = here.change > 0 ? -here.slope / here.change
                                          : (here.slope < 0 ? kLongestStep : -kLongestStep);
    if (std::abs(newton) < kLastStep) {
      u += newton;
      break;
    }
    // Steps that do not shrink lead into a flat tail (every label the most likely id, say): the
    // minimum is far, if there is one.
    const bool tail =
        fit.passes > 2 && !(below && above) && std::abs(newton) > 0.5 * std::abs(last);
    double next = u + (tail ? std::copysign(kLongestStep, newton)
                            : std::clamp(newton, -kLongestStep, kLongestStep));
    if (below && above) {
      const double low = below->u, high = above->u;  // the slope rises with u
      if (below->change > 0 && above->change > 0) next = inverse_hermite(*below, *above);
      if (!(next > low && next < high)) next = u + newton;
      if (!(next > low && next < high)) next = 0.5 * (low + high);
    }
    next = std::clamp(next, lowest, highest);
    if (next == u) break;  // at a bound, and the minimum lies beyond it
    last = next - u;
    u = next;
  }
  fit.undetermined = flat || u <= lowest || u >= highest;
  fit.temperature = std::exp(-u);
  return fit;
}

}  // namespace temper
