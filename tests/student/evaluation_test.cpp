// Held-out evaluation and calibration give the same on any number of ranks.
#include "student/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/data_config.h"

namespace temper {
namespace {

Transformer small_model(int64_t vocab) {
  TransformerConfig config;
  config.vocab = vocab;
  config.positions = 64;
  config.layers = 1;
  config.width = 16;
  config.heads = config.kv_heads = 2;
  config.head_width = 8;
  config.ffn_width = 32;
  Transformer model(config);
  model.init_weights(3);
  const at::NoGradGuard no_grad;
  model.flat_weights().mul_(4);  // over-confident, so that there is something to fit
  return model;
}

TEST(EvaluationTest, DoesNotDependOnTheNumberOfRanks) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const Transformer model = small_model(corpus->vocab());
  const HeldOut data{corpus.get(), Part::kTest, 64, 64 * 23, 3};
  const Communicator world = Communicator::world(), self = Communicator::self();
  const CalibrationFit alone = calibrate(model, data, at::kFloat, self);
  const CalibrationFit together = calibrate(model, data, at::kFloat, world);
  EXPECT_NEAR(together.temperature, alone.temperature, 1e-6);
  EXPECT_NE(alone.temperature, 1.0);
  EXPECT_EQ(together.passes, alone.passes);
  const Metrics one = evaluate(model, data, at::kFloat, self, {2.0}).front();
  const Metrics many = evaluate(model, data, at::kFloat, world, {2.0}).front();
  EXPECT_EQ(many.tokens, one.tokens);
  EXPECT_NEAR(many.nll, one.nll, 1e-6);
  EXPECT_NEAR(many.brier, one.brier, 1e-6);
  EXPECT_DOUBLE_EQ(many.accuracy, one.accuracy);
  EXPECT_NEAR(many.ece, one.ece, 1e-6);
  EXPECT_NEAR(many.ece_equal_mass, one.ece_equal_mass, 1e-6);
  const std::optional<double> floor = floor_nll(data, world), floor_alone = floor_nll(data, self);
  ASSERT_TRUE(floor && floor_alone);
  EXPECT_NEAR(*floor, *floor_alone, 1e-12);
  EXPECT_LT(*floor, one.nll);
}

TEST(EvaluationTest, CalibrationNeverRaisesTheLossItFits) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const Transformer model = small_model(corpus->vocab());
  const HeldOut data{corpus.get(), Part::kFit, 64, 64 * 16, 4};
  const Communicator world = Communicator::world();
  const CalibrationFit fit = calibrate(model, data, at::kFloat, world);
  const std::vector<Metrics> metrics =
      evaluate(model, data, at::kFloat, world, {1.0, fit.temperature});
  EXPECT_LT(metrics[1].nll, metrics[0].nll);
  EXPECT_NEAR(metrics[0].nll, fit.nll_before, 1e-5);
  EXPECT_EQ(metrics[1].arg_max_changed, 0);
}

TEST(EvaluationTest, AgreementWithTheTeacher) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const Transformer student = small_model(corpus->vocab());
  Transformer teacher = small_model(corpus->vocab());
  const HeldOut data{corpus.get(), Part::kTest, 64, 64 * 11, 4};
  const Communicator world = Communicator::world();
  const Agreement same = compare_with_teacher(student, teacher, data, at::kFloat, world);
  EXPECT_NEAR(same.kl, 0.0, 1e-7);
  EXPECT_EQ(same.arg_max, 1.0);
  {
    const at::NoGradGuard no_grad;
    at::manual_seed(2);
    teacher.flat_weights().add_(at::randn_like(teacher.flat_weights()) * 0.05);
  }
  const Agreement apart = compare_with_teacher(student, teacher, data, at::kFloat, world);
  // The same by PyTorch's own kl_div, on one rank.
  std::vector<at::Tensor> p, q;  // each (n, V)
  for_each_logits(
      student, data, at::kFloat, Communicator::self(),
      [&](const at::Tensor& logits, const at::Tensor&) { p.push_back(logits.clone()); });
  for_each_logits(
      teacher, data, at::kFloat, Communicator::self(),
      [&](const at::Tensor& logits, const at::Tensor&) { q.push_back(logits.clone()); });
  const at::Tensor all_p = at::cat(p), all_q = at::cat(q);  // (N, V)
  const double kl = at::kl_div(at::log_softmax(all_p, 1), at::log_softmax(all_q, 1),
                               at::Reduction::Sum, /*log_target=*/true)
                        .item<double>();
  EXPECT_EQ(apart.tokens, all_p.size(0));
  EXPECT_GT(apart.kl, 1e-3);
  EXPECT_NEAR(apart.kl, kl / static_cast<double>(apart.tokens), 1e-5 * apart.kl + 1e-6);
  EXPECT_DOUBLE_EQ(apart.arg_max,
                   (all_p.argmax(1) == all_q.argmax(1)).to(at::kDouble).mean().item<double>());
}

}  // namespace
}  // namespace temper
