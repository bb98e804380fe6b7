// What hard labels ask of a model: closed forms, PyTorch's own operations and central differences
// in double precision; the kernel against the same by whole tensors.
#include "student/label_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "student/loss.h"
#include "student/loss_tensors.h"
#include "tests/student/central_differences.h"
#include "tests/student/loss_cases.h"

namespace temper::label_loss_test {
namespace {

constexpr int64_t kTokens = 4, kVocab = 13;

struct Block {
  at::Tensor logits = [] {
    at::manual_seed(11);
    return at::randn({kTokens, kVocab}, at::kDouble) * 2;  // (N, V)
  }();
  at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);              // (N)
  at::Tensor onehot = at::one_hot(labels, kVocab).to(at::kDouble);            // (N, V)
  at::Tensor p = at::softmax(logits, 1), log_p = at::log_softmax(logits, 1);  // (N, V)
  at::Tensor entropy = -(p * log_p).sum(1, /*keepdim=*/true);                 // (N, 1)
};

struct Result {
  LossSums sums;
  at::Tensor gradient;  // (N, V)
};

Result without_teacher(const Block& block, const LabelLossConfig& labels) {
  LossConfig config;
  config.labels = labels;
  Result result{{}, block.logits.clone()};
  result.sums = distillation_loss_(result.gradient, {}, block.labels, config);
  return result;
}

// Dabre and Fujita 2020.
TEST(LabelLossTest, TemperedGradientIsThatOfTheFormula) {
  const Block block;
  for (const double tau : {0.5, 2.0, 4.0, 7.3}) {
    const at::Tensor p = at::softmax(block.logits / tau, 1);  // (N, V)
    for (const bool rescale : {false, true}) {
      const Result result = without_teacher(block, {.temperature = tau, .rescale = rescale});
      const double factor = rescale ? tau : 1;
      EXPECT_TRUE(at::allclose(result.gradient, factor * (p - block.onehot) / tau, 1e-10, 1e-12));
      const at::Tensor loss =
          at::cross_entropy_loss(block.logits / tau, block.labels, {}, at::Reduction::Sum);
      EXPECT_NEAR(result.sums.loss, factor * loss.item<double>(), 1e-9);
      // Reported at T = 1, whatever is trained with.
      const at::Tensor ce =
          at::cross_entropy_loss(block.logits, block.labels, {}, at::Reduction::Sum);
      EXPECT_NEAR(result.sums.ce, ce.item<double>(), 1e-9);
    }
  }
}

TEST(LabelLossTest, SmoothingIsPyTorchs) {
  const Block block;
  for (const double tau : {1.0, 3.0}) {
    const at::AutoGradMode grad(true);
    at::Tensor z = block.logits.clone().requires_grad_();
    const at::Tensor loss = at::cross_entropy_loss(z / tau, block.labels, {}, at::Reduction::Sum,
                                                   /*ignore_index=*/-100, /*label_smoothing=*/0.1);
    loss.backward();
    const Result result =
        without_teacher(block, {.smoothing = 0.1, .temperature = tau, .rescale = false});
    EXPECT_NEAR(result.sums.loss, loss.item<double>(), 1e-9);
    EXPECT_TRUE(at::allclose(result.gradient, z.grad(), 1e-10, 1e-12));
  }
}

// Pereyra et al. 2017: the entropy's gradient is −p (log p + H).
TEST(LabelLossTest, ConfidencePenaltyIsThatOfTheFormula) {
  const Block block;
  const Result plain = without_teacher(block, {});
  const Result result = without_teacher(block, {.confidence_penalty = 0.3});
  const at::Tensor extra = 0.3 * block.p * (block.log_p + block.entropy);  // (N, V)
  EXPECT_TRUE(at::allclose(result.gradient - plain.gradient, extra, 1e-9, 1e-11));
  EXPECT_NEAR(result.sums.loss - plain.sums.loss, -0.3 * block.entropy.sum().item<double>(), 1e-9);
}

TEST(LabelLossTest, ZLossIsThatOfTheFormula) {
  const Block block;
  const Result plain = without_teacher(block, {});
  const Result result = without_teacher(block, {.z_loss = 0.2});
  const at::Tensor log_z = at::logsumexp(block.logits, 1, /*keepdim=*/true);  // (N, 1)
  EXPECT_TRUE(at::allclose(result.gradient - plain.gradient, 0.4 * log_z * block.p, 1e-9, 1e-11));
  EXPECT_NEAR(result.sums.loss - plain.sums.loss, 0.2 * log_z.square().sum().item<double>(), 1e-9);
}

const std::vector<LabelLossConfig>& all_terms() {
  static const std::vector<LabelLossConfig> terms = {
      {.temperature = 2},
      {.smoothing = 0.1, .temperature = 0.7, .rescale = false},
      {.confidence_penalty = 0.2},
      {.confidence_penalty = -0.1},
      {.z_loss = 1e-2},
      {.smoothing = 0.2, .temperature = 3, .confidence_penalty = 0.1, .z_loss = 1e-3}};
  return terms;
}

class LabelTermsTest : public testing::TestWithParam<LossCase> {};

// Together with any divergence and payload, weighted.
TEST_P(LabelTermsTest, GradientEqualsCentralDifferences) {
  const Block block;
  const at::Tensor teacher = at::randn({kTokens, kVocab}, at::kDouble) * 2;  // (N, V)
  const at::Tensor weights = at::rand({kTokens}, at::kDouble);               // (N)
  const SoftTargets soft = [&] {
    if (GetParam().payload != Payload::kTopk)
      return soft_targets_of(GetParam().payload, teacher, 2);
    const at::Tensor log_q = at::log_softmax(teacher / 2, 1);  // (N, V)
    SoftTargets top;
    top.kind = Payload::kTopk;
    std::tie(top.values, top.ids) = at::topk(log_q, 4, 1);
    top.scalars = at::logsumexp(log_q.scatter(1, top.ids, -HUGE_VAL), 1);
    return top;
  }();
  for (const LabelLossConfig& terms : all_terms()) {
    LossConfig config = GetParam().config(0.6, 2.0, 0);
    config.labels = terms;
    const auto loss = [&](const at::Tensor& logits) {
      at::Tensor scratch = logits.clone();
      return distillation_loss_(scratch, soft, block.labels, config, weights).loss;
    };
    at::Tensor analytic = block.logits.clone();
    distillation_loss_(analytic, soft, block.labels, config, weights);
    const at::Tensor numeric = central_differences(block.logits, loss);
    EXPECT_LE(relative_error(analytic, numeric), 1e-6);
  }
}

TEST_P(LabelTermsTest, KernelEqualsTensorOperationsInDouble) {
  constexpr int64_t kLong = 1037;
  at::manual_seed(12);
  const at::Tensor labels = at::randint(kLong, {kTokens}, at::kLong);
  for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const at::Tensor logits = (at::randn({kTokens, kLong}) * 3).to(dtype);   // (N, V)
    const at::Tensor teacher = (at::randn({kTokens, kLong}) * 3).to(dtype);  // (N, V)
    const SoftTargets soft = soft_targets_of(GetParam().payload, teacher, 2.0);
    SoftTargets exact = soft;
    if (GetParam().payload == Payload::kFull)
      exact = SoftTargets::of_logits(teacher.to(at::kDouble));
    for (const LabelLossConfig& terms : all_terms()) {
      LossConfig config = GetParam().config(0.6, 2.0, 0);
      config.labels = terms;
      at::Tensor given = logits.clone(), right = logits.to(at::kDouble);
      const LossSums sums = distillation_loss_(given, soft, labels, config);
      const LossSums expected = tensor_loss_(right, exact, labels, config);
      EXPECT_NEAR(sums.loss, expected.loss, 1e-5 * std::abs(expected.loss));
      EXPECT_NEAR(sums.ce, expected.ce, 1e-5 * expected.ce);
      EXPECT_LE(relative_error(given, right), dtype == at::kFloat ? 1e-5 : 3e-3);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, LabelTermsTest, testing::ValuesIn(loss_cases()),
                         [](const auto& parameter) { return std::string(parameter.param.name); });

// T → 0: the softmaxes become one-hot, and nothing overflows.
TEST(LabelLossTest, TinyTemperaturesStayFinite) {
  at::manual_seed(6);
  const at::Tensor logits = at::randn({4, 50}) * 3, teacher = at::randn({4, 50}) * 3;  // (N, V)
  for (const double temperature : {1e-1, 1e-2, 1e-3}) {
    for (const LossCase& each : loss_cases()) {
      LossConfig config = each.config(0.5, temperature, 0.1);
      config.labels.temperature = temperature;
      at::Tensor gradient = logits.clone();
      const LossSums sums =
          distillation_loss_(gradient, soft_targets_of(each.payload, teacher, temperature),
                             at::zeros({4}, at::kLong), config);
      EXPECT_TRUE(std::isfinite(sums.loss)) << each.name << " T " << temperature;
      EXPECT_TRUE(at::isfinite(gradient).all().item<bool>()) << each.name << " T " << temperature;
    }
  }
}

TEST(LabelLossTest, ExtremeLogitsStayFinite) {
  LossConfig config{0.5, 2.0};
  config.labels = {.smoothing = 0, .temperature = 2, .confidence_penalty = 0.1, .z_loss = 1e-4};
  const at::Tensor labels = at::zeros({3}, at::kLong);
  at::Tensor logits = at::zeros({3, 50});  // all equal
  logits[0] = at::linspace(-1e4, 1e4, 50);
  logits[1].narrow(0, 10, 40).fill_(-HUGE_VAL);
  const at::Tensor teacher = logits.clone();
  for (const bool taught : {false, true}) {
    at::Tensor gradient = logits.clone();
    const LossSums sums = distillation_loss_(
        gradient, taught ? SoftTargets::of_logits(teacher) : SoftTargets(), labels, config);
    EXPECT_TRUE(std::isfinite(sums.loss));
    EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
    EXPECT_EQ(gradient[1].narrow(0, 10, 40).abs().max().item<float>(), 0);
  }
}

}  // namespace
}  // namespace temper::label_loss_test
