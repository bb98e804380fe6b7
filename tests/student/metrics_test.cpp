// Metrics on cases that can be worked out by hand, and against a direct computation.
#include "student/metrics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace temper {
namespace {

Metrics measure(const at::Tensor& logits, const at::Tensor& labels, double temperature = 1) {
  MetricsAccumulator accumulator(temperature);
  accumulator.add(logits, labels, at::arange(labels.numel()).floor_divide(1000));
  return accumulator.finish(Communicator::self());
}

TEST(MetricsTest, ByHand) {
  // p = (0.9, 0.1) twice, right once; p = (0.4, 0.6) twice, right both times.
  const at::Tensor p =
      at::tensor({0.9, 0.1, 0.9, 0.1, 0.4, 0.6, 0.4, 0.6}, at::kDouble).view({4, 2});
  const Metrics m = measure(p.log(), at::tensor({0, 1, 1, 1}, at::kLong));
  EXPECT_EQ(m.tokens, 4);
  EXPECT_DOUBLE_EQ(m.accuracy, 0.75);
  EXPECT_NEAR(m.nll, -(std::log(0.9) + std::log(0.1) + 2 * std::log(0.6)) / 4, 1e-12);
  EXPECT_NEAR(m.perplexity, std::exp(m.nll), 1e-12);
  // Brier: 2·0.01 = 0.02; 2·0.81 = 1.62; 2·0.16 = 0.32 twice.
  EXPECT_NEAR(m.brier, (0.02 + 1.62 + 0.32 + 0.32) / 4, 1e-12);
  // ECE: half the tokens at confidence 0.9 with accuracy 0.5, half at 0.6 with 1: 0.5·0.4 +
  // 0.5·0.4.
  EXPECT_NEAR(m.ece, 0.4, 1e-7);
}

TEST(MetricsTest, BinsAreOpenBelowAndClosedAbove) {
  // A confidence of exactly 3/15 = 0.2 (5 equal ids) belongs to the third bin.
  const Metrics m = measure(at::zeros({1, 5}, at::kDouble), at::zeros({1}, at::kLong));
  EXPECT_EQ(m.bins[2].tokens, 1);
}

TEST(MetricsTest, CalibratedPredictionsHaveNoError) {
  at::manual_seed(2);
  const at::Tensor logits = at::randn({100000, 10}) * 2;
  const at::Tensor labels = at::multinomial(at::softmax(logits, 1), 1).squeeze(1);
  const Metrics calibrated = measure(logits, labels);
  EXPECT_LT(calibrated.ece, 0.01);
  EXPECT_LT(calibrated.ece_equal_mass, 0.01);
  const Metrics confident = measure(logits * 3, labels);
  EXPECT_GT(confident.ece, 0.1);
  EXPECT_GT(confident.ece_equal_mass, 0.1);
  const Metrics undone = measure(logits * 3, labels, 3.0);
  EXPECT_NEAR(undone.ece, calibrated.ece, 1e-4);
  EXPECT_NEAR(undone.nll, calibrated.nll, 1e-5);
  EXPECT_EQ(undone.accuracy, confident.accuracy);
  EXPECT_EQ(undone.arg_max_changed, 0);
}

TEST(MetricsTest, EqualMassBinsByHand) {
  // 30 tokens in 15 bins of two: confidences rise, every second token of a pair is right.
  const at::Tensor p = at::linspace(0.51, 0.99, 30, at::kDouble);
  const at::Tensor logits = at::stack({p, 1 - p}, 1).log();  // (30, 2)
  const Metrics m = measure(logits, at::arange(30).remainder(2));
  double expected = 0;
  for (int64_t bin = 0; bin < 15; ++bin) {
    const double confidence = (p[2 * bin].item<double>() + p[2 * bin + 1].item<double>()) / 2;
    expected += std::abs(confidence - 0.5) / 15;
  }
  EXPECT_NEAR(m.ece_equal_mass, expected, 1e-6);
}

TEST(MetricsTest, EntropyByHand) {
  // Uniform over 5 ids, and over 2 of them where the others are ruled out.
  const at::Tensor two = at::full({1, 5}, -HUGE_VAL, at::kDouble);
  two.narrow(1, 1, 2).zero_();
  const at::Tensor logits = at::cat({at::zeros({1, 5}, at::kDouble), two});  // (2, 5)
  const at::Tensor labels = at::ones({2}, at::kLong);
  EXPECT_NEAR(measure(logits, labels).entropy, (std::log(5) + std::log(2)) / 2, 1e-12);
  // Of (z, 0) at T: H = log(1 + e^-a) + a / (1 + e^a), a = z/T.
  const double a = 1.5 / 2.5;
  const at::Tensor pair = at::tensor({1.5, 0.0}, at::kDouble).view({1, 2});
  EXPECT_NEAR(measure(pair, at::zeros({1}, at::kLong), 2.5).entropy,
              std::log1p(std::exp(-a)) + a / (1 + std::exp(a)), 1e-12);
}

TEST(MetricsTest, ClasswiseErrorByHand) {
  // The tokens of ByHand. Id 0: p = 0.9 twice, a hit once: |1.8 − 1|; 0.4 twice, no hit: 0.8. Id 1:
  // 0.1 twice, one hit: 0.8; 0.6 twice, two hits: 0.8. So 1.6 / 4 tokens for each of two ids.
  const at::Tensor p =
      at::tensor({0.9, 0.1, 0.9, 0.1, 0.4, 0.6, 0.4, 0.6}, at::kDouble).view({4, 2});
  EXPECT_NEAR(measure(p.log(), at::tensor({0, 1, 1, 1}, at::kLong)).ece_classwise, 0.4, 1e-12);
}

TEST(MetricsTest, ClasswiseErrorIsThatOfEachIdAlone) {
  at::manual_seed(4);
  const at::Tensor logits = at::randn({2000, 7}, at::kDouble) * 3;
  const at::Tensor labels = at::randint(7, {2000}, at::kLong);
  MetricsAccumulator accumulator(1.5);
  for (int64_t begin = 0; begin < 2000; begin += 300) {  // in chunks
    const int64_t end = std::min<int64_t>(2000, begin + 300);
    accumulator.add(logits.slice(0, begin, end), labels.slice(0, begin, end),
                    at::arange(begin, end));
  }
  const at::Tensor p = at::softmax(logits / 1.5, 1);  // (N, V)
  double expected = 0;
  for (int64_t id = 0; id < 7; ++id) {
    std::array<double, 15> gaps{};
    for (int64_t i = 0; i < 2000; ++i) {
      const double mass = p[i][id].item<double>();
      gaps[static_cast<size_t>(std::ceil(mass * 15)) - 1] +=
          mass - (labels[i].item<int64_t>() == id);
    }
    for (const double gap : gaps) expected += std::abs(gap) / 2000 / 7;
  }
  EXPECT_NEAR(accumulator.finish(Communicator::self()).ece_classwise, expected, 1e-9);
}

TEST(MetricsTest, LogitsThatAreNoNumbersGiveMetricsThatAreNone) {
  const Metrics m = measure(at::full({4, 3}, std::nan("")), at::zeros({4}, at::kLong));
  for (const double value : {m.nll, m.brier, m.entropy, m.ece, m.ece_classwise})
    EXPECT_TRUE(std::isnan(value));
}

TEST(MetricsTest, NoTokensIsAnError) {
  EXPECT_THROW(MetricsAccumulator(1.0).finish(Communicator::self()), c10::ValueError);
}

}  // namespace
}  // namespace temper
