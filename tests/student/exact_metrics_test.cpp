// Exact metrics against closed forms, and as the limit of those that see only labels.
#include "student/exact_metrics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "student/metrics.h"

namespace temper::exact_metrics_test {
namespace {

ExactMetrics measure(const at::Tensor& logits, const at::Tensor& truth, double temperature = 1) {
  ExactAccumulator accumulator({temperature});
  accumulator.add(logits, truth);
  return accumulator.finish(Communicator::self()).front();
}

TEST(ExactMetricsTest, ByHand) {
  // p = (0.9, 0.1) where π = (0.7, 0.3), and where π = (1, 0): one bin, errors of opposite sign.
  const at::Tensor p = at::tensor({0.9, 0.1, 0.9, 0.1}, at::kDouble).view({2, 2});
  const at::Tensor truth = at::tensor({0.7, 0.3, 1.0, 0.0}, at::kDouble).view({2, 2});
  const ExactMetrics exact = measure(p.log(), truth);
  EXPECT_NEAR(exact.kl,
              (0.7 * std::log(0.7 / 0.9) + 0.3 * std::log(0.3 / 0.1) + std::log(1 / 0.9)) / 2,
              1e-12);
  EXPECT_NEAR(exact.ece, std::abs(0.2 - 0.1) / 2, 1e-7);
  EXPECT_NEAR(exact.confidence_error, (0.2 + 0.1) / 2, 1e-7);
}

TEST(ExactMetricsTest, TheTruthHasNoError) {
  at::manual_seed(5);
  const at::Tensor logits = at::randn({500, 20}) * 2;
  const ExactMetrics exact = measure(logits * 2.5, at::softmax(logits.to(at::kDouble), 1), 2.5);
  EXPECT_NEAR(exact.kl, 0, 1e-6);
  EXPECT_NEAR(exact.ece, 0, 1e-6);
  EXPECT_NEAR(exact.confidence_error, 0, 1e-6);
}

TEST(ExactMetricsTest, KlIsThatOfPyTorchAndCountsMassBeyondTheIds) {
  at::manual_seed(6);
  const at::Tensor logits = at::randn({300, 12}) * 2;                              // (N, V)
  const at::Tensor truth = at::softmax(at::randn({300, 10}, at::kDouble) * 2, 1);  // (N, V')
  const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble) / 1.3, 1).narrow(1, 0, 10);
  const double kl = at::kl_div(log_p, truth, at::Reduction::Sum).item<double>() / 300;
  EXPECT_NEAR(measure(logits, truth, 1.3).kl, kl, 1e-6);
}

TEST(ExactMetricsTest, AMostLikelyIdBeyondTheIdsIsNeverRight) {
  const at::Tensor logits = at::tensor({0.0, 0.0, 5.0}, at::kDouble).view({1, 3});
  const ExactMetrics exact = measure(logits, at::full({1, 2}, 0.5, at::kDouble));
  EXPECT_NEAR(exact.confidence_error, at::softmax(logits, 1)[0][2].item<double>(), 1e-6);
}

TEST(ExactMetricsTest, IsWhatManyLabelsComeTo) {
  at::manual_seed(7);
  const at::Tensor z = at::randn({200000, 10}) * 1.5;
  const at::Tensor truth = at::softmax(z, 1);
  const at::Tensor labels = at::multinomial(truth, 1).squeeze(1);
  MetricsAccumulator sampled(1);
  sampled.add(z * 2.5, labels, at::arange(200000).floor_divide(1000));
  const Metrics metrics = sampled.finish(Communicator::self());
  const ExactMetrics exact = measure(z * 2.5, truth.to(at::kDouble));
  EXPECT_GT(exact.ece, 0.1);
  EXPECT_NEAR(metrics.ece, exact.ece, 0.005);
  EXPECT_GE(exact.confidence_error, exact.ece - 1e-12);
  const double entropy = -at::xlogy(truth, truth).sum().item<double>() / 200000;
  EXPECT_NEAR(metrics.nll - entropy, exact.kl, 0.02);
}

}  // namespace
}  // namespace temper::exact_metrics_test
