// Every divergence against finite differences in double precision, closed forms, and its limits.
#include "student/divergence.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "student/loss.h"
#include "tests/student/central_differences.h"

namespace temper::divergence_test {
namespace {

constexpr int64_t kTokens = 3, kVocab = 11;
constexpr Divergence kAll[] = {Divergence::kForwardKl, Divergence::kReverseKl,
                               Divergence::kJensenShannon, Divergence::kMixed,
                               Divergence::kTotalVariation};

struct Block {
  at::Tensor student = [] {
    at::manual_seed(5);
    return at::randn({kTokens, kVocab}, at::kDouble) * 2;
  }();
  at::Tensor teacher = at::randn({kTokens, kVocab}, at::kDouble) * 2;  // (N, V)
  at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);
};

SoftTargets topk(const at::Tensor& teacher, double temperature, int64_t entries) {
  const at::Tensor log_q = at::log_softmax(teacher / temperature, 1);  // (N, V)
  SoftTargets soft;
  soft.kind = Payload::kTopk;
  std::tie(soft.values, soft.ids) = at::topk(log_q, entries, 1);
  soft.scalars = at::logsumexp(log_q.scatter(1, soft.ids, -HUGE_VAL), 1);
  return soft;
}

double loss_at(const at::Tensor& student, const SoftTargets& soft, const at::Tensor& labels,
               const LossConfig& config) {
  at::Tensor scratch = student.clone();
  return distillation_loss_(scratch, soft, labels, config).loss;
}

// log p = -103.6: half of that probability is no float any more.
TEST(DivergenceLimitTest, JensenShannonOfADenormalProbabilityIsFinite) {
  for (const double gap : {87.0, 102.0, 103.0, 103.3, 103.6, 103.9, 104.0, 110.0}) {
    for (const double beta : {0.1, 0.5, 0.9}) {
      LossConfig config{1.0, 1.0};
      config.kind = "jsd";
      config.beta = beta;
      at::Tensor student = at::zeros({1, 40}), teacher = at::zeros({1, 40});  // (1, V)
      student.narrow(1, 0, 20).fill_(-gap);
      teacher.narrow(1, 0, 20).fill_(-200);
      const LossSums sums = distillation_loss_(student, SoftTargets::of_logits(teacher),
                                               at::full({1}, 30, at::kLong), config);
      EXPECT_TRUE(std::isfinite(sums.loss)) << gap << " " << beta;
      EXPECT_TRUE(at::isfinite(student).all().item<bool>()) << gap << " " << beta;
    }
  }
}

class DivergenceTest : public testing::TestWithParam<std::tuple<Divergence, double>> {};

TEST_P(DivergenceTest, GradientEqualsCentralDifferencesOverIdsAndOverABucket) {
  const auto [divergence, temperature] = GetParam();
  const Block block;
  for (const double beta : {0.0, 0.1, 0.5, 0.9, 1.0}) {
    LossConfig config{0.7, temperature};
    config.kind = divergence_name(divergence);
    config.beta = beta;
    for (const SoftTargets& soft :
         {SoftTargets::of_logits(block.teacher), topk(block.teacher, temperature, 4)}) {
      at::Tensor analytic = block.student.clone();
      distillation_loss_(analytic, soft, block.labels, config);
      const at::Tensor numeric = central_differences(block.student, [&](const at::Tensor& logits) {
        return loss_at(logits, soft, block.labels, config);
      });
      EXPECT_LE(((analytic - numeric).norm() / numeric.norm()).item<double>(), 1e-6)
          << config.kind << ", beta " << beta << ", " << payload_name(soft.kind);
    }
    if (divergence != Divergence::kJensenShannon && divergence != Divergence::kMixed) break;
  }
}

INSTANTIATE_TEST_SUITE_P(KindsAndTemperatures, DivergenceTest,
                         testing::Combine(testing::ValuesIn(kAll), testing::Values(0.5, 1.0, 4.0)));

struct Distributions {
  at::Tensor p, q;  // (N, V)
  at::Tensor log_p, log_q;
};

Distributions distributions() {
  const Block block;
  Distributions all;
  all.log_p = at::log_softmax(block.student, 1);
  all.log_q = at::log_softmax(block.teacher, 1);
  all.p = all.log_p.exp();
  all.q = all.log_q.exp();
  return all;
}

double value(Divergence divergence, double beta, const Distributions& of) {
  return divergence_part(divergence, beta, of.log_p, of.log_q).sum();
}

TEST(DivergenceTest, ValuesEqualPyTorchsKlDiv) {
  const Distributions of = distributions();
  const auto kl = [](const at::Tensor& log_of, const at::Tensor& log_from) {
    return at::kl_div(log_from, log_of, at::Reduction::Sum, /*log_target=*/true).item<double>();
  };
  EXPECT_NEAR(value(Divergence::kForwardKl, 0, of), kl(of.log_q, of.log_p), 1e-12);
  EXPECT_NEAR(value(Divergence::kReverseKl, 0, of), kl(of.log_p, of.log_q), 1e-12);
  for (const double beta : {0.1, 0.5, 0.9}) {
    const at::Tensor log_m = (beta * of.q + (1 - beta) * of.p).log();  // (N, V)
    EXPECT_NEAR(value(Divergence::kJensenShannon, beta, of),
                beta * kl(of.log_q, log_m) + (1 - beta) * kl(of.log_p, log_m), 1e-12);
  }
  EXPECT_NEAR(value(Divergence::kTotalVariation, 0, of),
              0.5 * (of.p - of.q).abs().sum().item<double>(), 1e-12);
}

TEST(DivergenceTest, JensenShannonTendsToBothKls) {
  const Distributions of = distributions();
  const double forward = value(Divergence::kForwardKl, 0, of);
  const double reverse = value(Divergence::kReverseKl, 0, of);
  constexpr double kSmall = 1e-6;
  EXPECT_NEAR(value(Divergence::kJensenShannon, kSmall, of) / kSmall, forward, 1e-4 * forward);
  EXPECT_NEAR(value(Divergence::kJensenShannon, 1 - kSmall, of) / kSmall, reverse, 1e-4 * reverse);
  EXPECT_EQ(value(Divergence::kJensenShannon, 0, of), forward);
  EXPECT_EQ(value(Divergence::kJensenShannon, 1, of), reverse);
}

TEST(DivergenceTest, ABucketIsALowerBound) {
  const Block block;
  for (const Divergence divergence : kAll) {
    LossConfig config{1.0, 2.0};
    config.kind = divergence_name(divergence);
    const double exact =
        loss_at(block.student, SoftTargets::of_logits(block.teacher), block.labels, config);
    double last = 0;
    for (const int64_t entries : {1, 4, 8, 11}) {
      const double bound =
          loss_at(block.student, topk(block.teacher, 2.0, entries), block.labels, config);
      EXPECT_GE(bound, last - 1e-12) << config.kind << " " << entries;
      EXPECT_LE(bound, exact + 1e-12) << config.kind << " " << entries;
      last = bound;
    }
    EXPECT_NEAR(last, exact, 1e-10) << config.kind;
  }
}

TEST(DivergenceTest, ExtremeLogitsStayFinite) {
  Block block;
  at::Tensor teacher = (block.teacher * 5e3).to(at::kFloat);  // (N, V)
  teacher[0][3] = -std::numeric_limits<float>::infinity();
  teacher[1].fill_(0.0);
  for (const Divergence divergence : kAll) {
    LossConfig config{0.5, 2.0};
    config.kind = divergence_name(divergence);
    at::Tensor logits = (block.student * 5e3).to(at::kFloat);  // (N, V)
    const LossSums sums =
        distillation_loss_(logits, SoftTargets::of_logits(teacher), block.labels, config);
    EXPECT_TRUE(std::isfinite(sums.loss)) << config.kind;
    EXPECT_TRUE(at::isfinite(logits).all().item<bool>()) << config.kind;
  }
}

// The gradient keeps its size from T = 4 to T = 16, whatever the divergence.
TEST(DivergenceTest, TheFactorOfTKeepsTheGradientsSize) {
  const Block block;
  for (const Divergence divergence : kAll) {
    LossConfig config{1.0, 4.0};
    config.kind = divergence_name(divergence);
    at::Tensor low = block.student.clone(), high = block.student.clone();
    const SoftTargets soft = SoftTargets::of_logits(block.teacher);
    distillation_loss_(low, soft, block.labels, config);
    config.temperature = 16;
    distillation_loss_(high, soft, block.labels, config);
    const double ratio = (high.norm() / low.norm()).item<double>();
    EXPECT_GT(ratio, 0.5) << config.kind;
    EXPECT_LT(ratio, 2.0) << config.kind;
  }
}

TEST(DivergenceTest, RefusesWhatAPayloadDoesNotDetermine) {
  LossConfig config;
  for (const Payload payload : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample})
    EXPECT_NO_THROW(config.check_payload(payload));
  for (const char* kind : {"reverse-kl", "jsd", "tvd"}) {
    config = LossConfig();
    config.kind = kind;
    for (const Payload payload : {Payload::kFull, Payload::kHidden, Payload::kTopk})
      EXPECT_NO_THROW(config.check_payload(payload));
    EXPECT_THROW(config.check_payload(Payload::kSample), c10::ValueError);
    config.tail = "renormalise";
    EXPECT_THROW(config.check_payload(Payload::kTopk), c10::ValueError);
  }
  config.kind = "kl";
  EXPECT_THROW(config.validate(), c10::ValueError);
  config = LossConfig();
  config.beta = 1.5;
  EXPECT_THROW(config.validate(), c10::ValueError);
}

}  // namespace
}  // namespace temper::divergence_test
