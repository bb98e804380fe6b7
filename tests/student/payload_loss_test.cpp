// Losses on what other payloads than all logits tell: against finite differences, against the exact
// loss where they must agree, and in expectation.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "student/loss.h"
#include "tests/student/central_differences.h"

namespace temper::payload_loss_test {
namespace {

constexpr int64_t kTokens = 3, kVocab = 13;

struct Block {
  at::Tensor student = [] {
    at::manual_seed(11);
    return at::randn({kTokens, kVocab}, at::kDouble) * 2;
  }();
  at::Tensor teacher = at::randn({kTokens, kVocab}, at::kDouble) * 2;  // (N, V)
  at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);
};

SoftTargets topk(const at::Tensor& teacher, double temperature, int64_t entries) {
  const at::Tensor log_q = at::log_softmax(teacher / temperature, 1);  // (N, V)
  const auto [values, ids] = at::topk(log_q, entries, 1);
  SoftTargets soft;
  soft.kind = Payload::kTopk;
  soft.values = values;
  soft.ids = ids;
  soft.scalars = at::logsumexp(log_q.scatter(1, ids, -HUGE_VAL), 1);
  return soft;
}

double loss_at(const at::Tensor& student, const SoftTargets& soft, const at::Tensor& labels,
               const LossConfig& config) {
  at::Tensor scratch = student.clone();
  return distillation_loss_(scratch, soft, labels, config).loss;
}

at::Tensor gradient_at(const at::Tensor& student, const SoftTargets& soft, const at::Tensor& labels,
                       const LossConfig& config) {
  at::Tensor logits = student.clone();
  distillation_loss_(logits, soft, labels, config);
  return logits;
}

double relative_error(const at::Tensor& value, const at::Tensor& right) {
  return ((value - right).norm() / right.norm()).item<double>();
}

class PayloadLossTest : public testing::TestWithParam<std::tuple<const char*, double>> {};

TEST_P(PayloadLossTest, GradientEqualsCentralDifferences) {
  const auto [kind, temperature] = GetParam();
  const Block block;
  LossConfig config{0.7, temperature};
  SoftTargets soft = topk(block.teacher, temperature, 4);
  if (std::string(kind) == "sample") {
    soft = SoftTargets();
    soft.kind = Payload::kSample;
    soft.ids = at::tensor({1, 1, 5, 12, 0, 3, 3, 3, 7, 8, 9, 9}, at::kLong).view({kTokens, 4});
    soft.scalars = at::tensor({0.5, 0.2, 1.0}, at::kDouble);
  } else {
    config.tail = kind;
  }
  const at::Tensor analytic = gradient_at(block.student, soft, block.labels, config);
  const at::Tensor numeric = central_differences(block.student, [&](const at::Tensor& logits) {
    return loss_at(logits, soft, block.labels, config);
  });
  EXPECT_LE(relative_error(analytic, numeric), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(KindsAndTemperatures, PayloadLossTest,
                         testing::Combine(testing::Values("bucket", "renormalise", "sample"),
                                          testing::Values(0.5, 1.0, 4.0)));

TEST(PayloadLossTest, AllEntriesAreTheWholeDistribution) {
  const Block block;
  for (const char* tail : {"bucket", "renormalise"}) {
    LossConfig config{1.0, 2.0};
    config.tail = tail;
    const SoftTargets whole = topk(block.teacher, 2.0, kVocab);
    EXPECT_EQ(whole.scalars.max().item<double>(), -HUGE_VAL);
    const SoftTargets exact = SoftTargets::of_logits(block.teacher);
    EXPECT_NEAR(loss_at(block.student, whole, block.labels, config),
                loss_at(block.student, exact, block.labels, config), 1e-10);
    EXPECT_LE(relative_error(gradient_at(block.student, whole, block.labels, config),
                             gradient_at(block.student, exact, block.labels, config)),
              1e-10);
  }
}

// A student that is its teacher has nothing to learn from a bucket, but is pulled to the top
// entries without one.
TEST(PayloadLossTest, OnlyRenormalisingPullsAnEqualStudentAway) {
  const Block block;
  const SoftTargets soft = topk(block.student, 2.0, 4);
  LossConfig config{1.0, 2.0};
  EXPECT_LT(gradient_at(block.student, soft, block.labels, config).abs().max().item<double>(),
            1e-12);
  config.tail = "renormalise";
  EXPECT_GT(gradient_at(block.student, soft, block.labels, config).abs().max().item<double>(),
            1e-2);
}

TEST(PayloadLossTest, TinyTailsStayFinite) {
  const Block block;
  at::Tensor sharp = block.teacher.clone() * 200, far = block.student.clone() * 200;
  for (const at::Tensor& student : {block.student, far}) {
    LossConfig config{1.0, 1.0};
    const SoftTargets soft = topk(sharp, 1.0, 4);
    SoftTargets single = soft;
    single.values = soft.values.to(at::kFloat);
    single.scalars = soft.scalars.to(at::kFloat);
    at::Tensor logits = student.to(at::kFloat);
    const LossSums sums = distillation_loss_(logits, single, block.labels, config);
    EXPECT_TRUE(std::isfinite(sums.loss));
    EXPECT_TRUE(at::isfinite(logits).all().item<bool>());
  }
}

TEST(PayloadLossTest, RefusesAnUnknownTail) {
  LossConfig config;
  config.tail = "cut";
  EXPECT_THROW(config.validate(), c10::ValueError);
}

}  // namespace
}  // namespace temper::payload_loss_test
