// The distillation loss against finite differences in double precision, PyTorch's own autograd, and
// what T² is for.
#include "student/loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "tests/student/central_differences.h"

namespace temper::loss_test {
namespace {

struct Block {
  at::Tensor student, teacher, labels;
};

Block random_block(int64_t tokens, int64_t vocab, double scale) {
  at::manual_seed(7);
  return {at::randn({tokens, vocab}, at::kDouble) * scale,
          at::randn({tokens, vocab}, at::kDouble) * scale, at::randint(vocab, {tokens}, at::kLong)};
}

LossSums value(const Block& block, const at::Tensor& student, const LossConfig& config) {
  at::Tensor scratch = student.clone();
  return distillation_loss_(scratch, SoftTargets::of_logits(block.teacher), block.labels, config);
}

at::Tensor gradient(const Block& block, const LossConfig& config) {
  at::Tensor logits = block.student.clone();
  distillation_loss_(logits, SoftTargets::of_logits(block.teacher), block.labels, config);
  return logits;
}

class LossTest : public testing::TestWithParam<std::tuple<double, double>> {};

TEST_P(LossTest, GradientEqualsCentralDifferences) {
  const auto [temperature, alpha] = GetParam();
  const Block block = random_block(3, 11, 2.0);
  const LossConfig config{alpha, temperature};
  const at::Tensor analytic = gradient(block, config);
  const at::Tensor numeric = central_differences(
      block.student, [&](const at::Tensor& logits) { return value(block, logits, config).loss; });
  const double error = ((analytic - numeric).norm() / numeric.norm()).item<double>();
  RecordProperty("relative_error", std::to_string(error));
  EXPECT_LE(error, 1e-6);
}

TEST_P(LossTest, ValueAndGradientEqualAutograd) {
  const auto [temperature, alpha] = GetParam();
  const Block block = random_block(5, 17, 3.0);
  const at::Tensor z = block.student.clone().requires_grad_();
  const at::Tensor kl = at::kl_div(at::log_softmax(z / temperature, 1),
                                   at::log_softmax(block.teacher / temperature, 1),
                                   at::Reduction::Sum, /*log_target=*/true);
  const at::Tensor ce = at::cross_entropy_loss(z, block.labels, {}, at::Reduction::Sum);
  const at::Tensor loss = alpha * temperature * temperature * kl + (1 - alpha) * ce;
  loss.backward();

  const LossConfig config{alpha, temperature};
  const LossSums sums = value(block, block.student, config);
  EXPECT_NEAR(sums.loss, loss.item<double>(), 1e-10 * std::abs(loss.item<double>()));
  EXPECT_NEAR(sums.kl, alpha > 0 ? kl.item<double>() : 0.0, 1e-10 * kl.item<double>());
  EXPECT_NEAR(sums.ce, ce.item<double>(), 1e-10 * ce.item<double>());
  EXPECT_EQ(sums.tokens, 5);
  EXPECT_TRUE(at::allclose(gradient(block, config), z.grad(), 1e-10, 1e-12));
}

INSTANTIATE_TEST_SUITE_P(TemperaturesAndWeights, LossTest,
                         testing::Combine(testing::Values(0.5, 1.0, 2.0, 8.0),
                                          testing::Values(0.0, 0.3, 1.0)));

// T² keeps the soft part's gradient at one size: at high T it tends to (z − v)/V of the centred
// logits (Hinton et al. 2015).
TEST(LossTest, GradientKeepsItsSizeFromTwoToSixteen) {
  const Block block = random_block(64, 101, 1.0);
  double least = HUGE_VAL, most = 0;
  for (const double temperature : {2.0, 4.0, 8.0, 16.0}) {
    const double norm = gradient(block, {1.0, temperature}).norm().item<double>();
    least = std::min(least, norm);
    most = std::max(most, norm);
  }
  RecordProperty("ratio", std::to_string(most / least));
  EXPECT_LT(most / least, 2.0);
}

TEST(LossTest, HighTemperatureMatchesCentredLogits) {
  const Block block = random_block(4, 13, 1.0);
  const at::Tensor centred = [&] {
    const at::Tensor difference = block.student - block.teacher;  // (N, V)
    return (difference - difference.mean(1, true)) / 13.0;        // (N, V)
  }();
  EXPECT_TRUE(at::allclose(gradient(block, {1.0, 1e4}), centred, 1e-3, 1e-5));
}

TEST(LossTest, EqualModelsHaveNoSoftGradient) {
  Block block = random_block(4, 13, 2.0);
  block.teacher = block.student.clone();
  EXPECT_LT(gradient(block, {1.0, 3.0}).abs().max().item<double>(), 1e-15);
}

TEST(LossTest, WithoutTeacherItIsCrossEntropy) {
  const Block block = random_block(4, 13, 2.0);
  at::Tensor logits = block.student.clone();
  const LossSums sums = distillation_loss_(logits, {}, block.labels, {0.9, 2.0});
  EXPECT_DOUBLE_EQ(sums.loss, sums.ce);
  const at::Tensor expected = at::softmax(block.student, 1) - at::one_hot(block.labels, 13);
  EXPECT_TRUE(at::allclose(logits, expected, 1e-12, 1e-14));
}

TEST(LossTest, ExtremeLogitsStayFinite) {
  Block block = random_block(4, 13, 1e4);
  block.teacher[0][3] = -std::numeric_limits<double>::infinity();
  block.teacher[1].fill_(0.0);
  const LossConfig config{0.5, 2.0};
  at::Tensor logits = block.student.to(at::kFloat);
  const LossSums sums = distillation_loss_(
      logits, SoftTargets::of_logits(block.teacher.to(at::kFloat)), block.labels, config);
  EXPECT_TRUE(std::isfinite(sums.loss));
  EXPECT_TRUE(at::isfinite(logits).all().item<bool>());
}

TEST(LossTest, RefusesBadTemperaturesAndWeights) {
  for (const double temperature : {0.0, -1.0, std::nan(""), HUGE_VAL}) {
    EXPECT_THROW((LossConfig{0.5, temperature}.validate()), c10::ValueError) << temperature;
  }
  for (const double alpha : {-0.1, 1.1, std::nan("")}) {
    EXPECT_THROW((LossConfig{alpha, 2.0}.validate()), c10::ValueError) << alpha;
  }
}

TEST(LossTest, AlphaBetaAndTemperatureOfAStep) {
  LossConfig config{0.5, 2.0};
  config.kind = "mixed";
  config.beta = 0.25;
  const LossConfig same = config.at(7, 10);
  EXPECT_EQ(same.alpha, 0.5);
  EXPECT_EQ(same.temperature, 2.0);
  EXPECT_EQ(same.beta, 0.25);

  config.alpha_schedule = Schedule::parse("0:1,4:0", "loss.alpha");
  config.beta_schedule = Schedule::parse("step 0:0.5,3:1", "loss.beta");
  config.temperature_schedule = Schedule::parse("0%:5,100%:1", "teacher.temperature");
  const LossConfig later = config.at(3, 5);
  EXPECT_EQ(later.alpha, 0.25);
  EXPECT_EQ(later.beta, 1);
  EXPECT_EQ(later.temperature, 2);
  config.validate();
  config.check_places(5);
}

// At its ends jsd is the plain KL; beside them it is beta times that, so the loss would jump.
TEST(LossTest, AScheduleOfJsdStaysOffTheEnds) {
  const Block block = random_block(4, 13, 1.0);
  LossConfig config{1.0, 1.0};
  config.kind = "jsd";
  config.beta = 0;
  const double end = value(block, block.student, config).loss;
  config.beta = 0.01;
  EXPECT_LT(value(block, block.student, config).loss, 0.05 * end);

  const auto message = [&](const std::string& kind, const std::string& beta) -> std::string {
    config.kind = kind;
    config.beta_schedule = Schedule::parse(beta, "loss.beta");
    try {
      config.validate();
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  };
  for (const std::string beta :
       {"0:0,100%:1", "0:0.5,100%:1", "0:0,100%:0.5", "step 0:0.5,50%:0"}) {
    const std::string said = message("jsd", beta);
    EXPECT_EQ(said.find("--loss.beta is " + beta + " with --loss.kind jsd: "), 0u) << said;
    EXPECT_NE(said.find("0.05 to 0.95"), std::string::npos) << said;
    EXPECT_EQ(message("mixed", beta), "accepted");  // goes from one KL to the other
  }
  for (const char* beta : {"0", "1", "0:1,100%:1", "0:0.05,100%:0.95"})
    EXPECT_EQ(message("jsd", beta), "accepted") << beta;
}

TEST(LossTest, RefusesSchedulesThatGoTooFar) {
  const auto message = [](auto change) -> std::string {
    LossConfig config;
    change(config);
    try {
      config.validate();
      config.check_places(100);
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](LossConfig& c) {
              c.alpha_schedule = Schedule::parse("0:1,9:1.5", "loss.alpha");
            }).find("--loss.alpha is 0:1,9:1.5: "),
            0u);
  EXPECT_EQ(message([](LossConfig& c) {
              c.beta_schedule = Schedule::parse("0:-1,9:1", "loss.beta");
            }).find("--loss.beta is 0:-1,9:1: "),
            0u);
  EXPECT_EQ(message([](LossConfig& c) {
              c.temperature_schedule = Schedule::parse("0:4,100%:0", "teacher.temperature");
            }).find("--teacher.temperature is 0:4,100%:0: "),
            0u);
  EXPECT_EQ(message([](LossConfig& c) {
              c.alpha_schedule = Schedule::parse("90:1,50%:0", "loss.alpha");
            }).find("--loss.alpha is '90:1,50%:0': of 100 steps"),
            0u);
}

}  // namespace
}  // namespace temper::loss_test
