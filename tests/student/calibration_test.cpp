// Temperature scaling: planted temperatures are found, derivatives are right, degenerate inputs end
// well.
#include "student/calibration.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "student/exact_metrics.h"
#include "student/metrics.h"

namespace temper {
namespace {

/// Labels drawn from softmax(z): then T = 1 is the best for z, and T₀ for z·T₀.
struct Known {
  at::Tensor logits, labels;
  explicit Known(int64_t tokens = 100000, int64_t vocab = 32) {
    at::manual_seed(11);
    logits = at::randn({tokens, vocab}, at::kFloat) * 1.5;
    labels = at::multinomial(at::softmax(logits, 1), 1).squeeze(1);
  }
};

CalibrationFit fit(const at::Tensor& logits, const at::Tensor& labels) {
  return fit_temperature([&](double beta) { return calibration_sums(logits, labels, beta); });
}

TEST(CalibrationTest, RecoversPlantedTemperatures) {
  const Known known;
  for (const double planted : {0.5, 1.0, 2.3, 5.0}) {
    for (const bool sharper : {true, false}) {
      // Logits that are T₀ times too large want T = T₀; divided by T₀ they want 1/T₀.
      const double expected = sharper ? planted : 1 / planted;
      const CalibrationFit found = fit(known.logits * expected, known.labels);
      EXPECT_NEAR(found.temperature / expected, 1.0, 0.01) << expected;
      EXPECT_LE(found.passes, 6) << expected;
      EXPECT_FALSE(found.undetermined);
    }
  }
}

TEST(CalibrationTest, IsTheMinimumOfTheLikelihood) {
  const Known known(2000, 20);
  const at::Tensor logits = known.logits.to(at::kDouble) * 1.7;
  const CalibrationFit found = fit(logits, known.labels);
  const auto nll = [&](double temperature) {
    return calibration_sums(logits, known.labels, 1 / temperature).nll;
  };
  // Golden-section search, which knows nothing of derivatives.
  double low = 0.2, high = 20;
  const double golden = (std::sqrt(5.0) - 1) / 2;
  while (high - low > 1e-7) {
    const double a = high - golden * (high - low), b = low + golden * (high - low);
    (nll(a) < nll(b) ? high : low) = nll(a) < nll(b) ? b : a;
  }
  EXPECT_NEAR(found.temperature, 0.5 * (low + high), 2e-6 * found.temperature);
  EXPECT_LE(nll(found.temperature), nll(1.0));
}

/// Where the NLL is lowest, by looking at all T of a grid, and then of finer ones around the best.
double brute_force(const std::function<double(double temperature)>& nll) {
  double low = 0.05, high = 20;
  while (high - low > 1e-6) {
    const double step = (high - low) / 40;
    double best = low;
    for (int i = 1; i <= 40; ++i) {
      if (nll(low + i * step) < nll(best)) best = low + i * step;
    }
    low = std::max(low, best - 2 * step);
    high = best + 2 * step;
  }
  return 0.5 * (low + high);
}

TEST(CalibrationTest, PlantedMiscalibrationIsUndone) {
  const Known known(300000), few(2000);
  const at::Tensor truth = at::softmax(known.logits.to(at::kDouble), 1);  // (N, V)
  for (const double planted : {2.5, 0.4}) {  // over- and under-confident
    const at::Tensor logits = known.logits * planted;
    const double found = fit(logits, known.labels).temperature;
    EXPECT_NEAR(found, planted, 1e-2);
    ExactAccumulator exact({1.0, found});
    MetricsAccumulator before(1.0), after(found);
    exact.add(logits, truth);
    before.add(logits, known.labels, at::arange(300000).floor_divide(1000));
    after.add(logits, known.labels, at::arange(300000).floor_divide(1000));
    const Communicator self = Communicator::self();
    const std::vector<ExactMetrics> errors = exact.finish(self);
    EXPECT_GT(errors[0].ece, 0.1) << planted;
    EXPECT_LT(errors[1].ece, 2e-3) << planted;
    EXPECT_GT(errors[0].kl, 0.1) << planted;
    EXPECT_LT(errors[1].kl, 1e-4) << planted;
    EXPECT_GT(before.finish(self).ece, 0.1) << planted;
    EXPECT_LT(after.finish(self).ece, 5e-3) << planted;

    const at::Tensor small = few.logits.to(at::kDouble) * planted;
    const double best =
        brute_force([&](double t) { return calibration_sums(small, few.labels, 1 / t).nll; });
    EXPECT_NEAR(fit(small, few.labels).temperature, best, 1e-4) << planted;
  }
}

TEST(CalibrationTest, SumsAreTheDerivatives) {
  const Known known(50, 9);
  const at::Tensor logits = known.logits.to(at::kDouble);
  const double h = 1e-4;
  for (const double beta : {0.3, 1.0, 4.0}) {
    const CalibrationSums down = calibration_sums(logits, known.labels, beta - h),
                          here = calibration_sums(logits, known.labels, beta),
                          up = calibration_sums(logits, known.labels, beta + h);
    EXPECT_NEAR(here.slope, (up.nll - down.nll) / (2 * h), 1e-5);
    EXPECT_NEAR(here.curvature, (up.slope - down.slope) / (2 * h), 1e-5);
    EXPECT_NEAR(
        here.nll,
        at::cross_entropy_loss(logits * beta, known.labels, {}, at::Reduction::Sum).item<double>(),
        1e-9);
  }
}

TEST(CalibrationTest, EqualLogitsLeaveTheTemperature) {
  const CalibrationFit found = fit(at::zeros({10, 5}), at::zeros({10}, at::kLong));
  EXPECT_EQ(found.temperature, 1.0);
  EXPECT_TRUE(found.undetermined);
}

TEST(CalibrationTest, AlwaysRightOrAlwaysWrongIsUndetermined) {
  const at::Tensor logits = at::eye(5) * 3.0;  // (N, V)
  const CalibrationFit right = fit(logits, at::arange(5));
  EXPECT_TRUE(right.undetermined);
  EXPECT_LT(right.temperature, 0.05);
  const CalibrationFit wrong = fit(logits, (at::arange(5) + 1).remainder(5));
  EXPECT_TRUE(wrong.undetermined);
  EXPECT_NEAR(wrong.temperature, kMaxTemperature, 1e-6);
}

TEST(CalibrationTest, RuledOutIdsAreHarmless) {
  Known known(5000, 20);
  const at::Tensor padded =
      at::cat({known.logits, at::full({5000, 4}, -HUGE_VAL)}, 1);  // (N, V + 4)
  EXPECT_NEAR(fit(padded * 2, known.labels).temperature,
              fit(known.logits * 2, known.labels).temperature, 1e-5);
}

TEST(CalibrationTest, NoTokensIsAnError) {
  EXPECT_THROW(fit_temperature([](double) { return CalibrationSums{}; }), c10::ValueError);
}

}  // namespace
}  // namespace temper
