// Held-out evaluation and calibration give the same on any number of ranks.
#include "student/evaluation.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "data/builtin_language.h"
#include "data/data_config.h"
#include "student/position_calibration.h"
#include "tests/model/small_shape.h"

namespace temper {
namespace {

Transformer small_model(int64_t vocab) {
  Transformer model(small_shape(vocab, 64, 1, 16));
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
  EXPECT_NEAR(many.ece_classwise, one.ece_classwise, 1e-6);
  EXPECT_NEAR(many.entropy, one.entropy, 1e-6);
  EXPECT_EQ(many.intervals.sequences, 23);
  const Intervals &wide = many.intervals, &narrow = one.intervals;
  for (const auto& [theirs, ours] : {std::pair{wide.nll, narrow.nll},
                                     {wide.brier, narrow.brier},
                                     {wide.ece, narrow.ece},
                                     {wide.accuracy, narrow.accuracy}}) {
    EXPECT_NEAR(theirs.low, ours.low, 1e-6);
    EXPECT_NEAR(theirs.high, ours.high, 1e-6);
  }
  EXPECT_LT(wide.nll.low, one.nll);
  EXPECT_GT(wide.nll.high, one.nll);
  ASSERT_TRUE(many.exact && one.exact);
  EXPECT_NEAR(many.exact->kl, one.exact->kl, 1e-6);
  EXPECT_NEAR(many.exact->ece, one.exact->ece, 1e-6);
  EXPECT_NEAR(many.exact->confidence_error, one.exact->confidence_error, 1e-6);
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

TEST(EvaluationTest, ExactMetricsSeeTheLanguageItself) {
  const BuiltinLanguage corpus(LanguageShape::for_vocab(100), 5);
  const Transformer model = small_model(104);  // four ids too many
  const HeldOut data{&corpus, Part::kTest, 64, 64 * 7, 3};
  const Communicator world = Communicator::world();
  const Metrics metrics = evaluate(model, data, at::kFloat, world, {1.7}).front();
  // The same from all logits and all distributions at once.
  std::vector<at::Tensor> logits, truth;  // each (n, V)
  for_each_logits(model, data, at::kFloat, Communicator::self(),
                  [&](const LogitsChunk& chunk) { logits.push_back(chunk.logits.clone()); });
  const Batch batch = corpus.read(Part::kTest, 0, 0, data.rows(), 64);
  for (int64_t row = 0; row < data.rows(); ++row) {
    truth.push_back(
        corpus.true_distribution(batch.tokens[row], 0, 64)
            .index_select(0, (batch.labels[row] != kIgnoredLabel).nonzero().squeeze(1)));
  }
  ExactAccumulator expected({1.7});
  expected.add(at::cat(logits), at::cat(truth));
  const ExactMetrics all = expected.finish(Communicator::self()).front();
  ASSERT_TRUE(metrics.exact);
  EXPECT_NEAR(metrics.exact->kl, all.kl, 1e-6);
  EXPECT_NEAR(metrics.exact->ece, all.ece, 1e-6);
  EXPECT_NEAR(metrics.exact->confidence_error, all.confidence_error, 1e-6);
  // KL is what the NLL exceeds the floor by, but for the labels' noise.
  EXPECT_NEAR(metrics.exact->kl, metrics.nll - *floor_nll(data, world), 0.3);
  EXPECT_GT(metrics.exact->kl, 0.5);
}

TEST(EvaluationTest, TemperaturesByPosition) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const Transformer model = small_model(corpus->vocab());
  const HeldOut data{corpus.get(), Part::kFit, 64, 64 * 23, 3};
  const Communicator world = Communicator::world(), self = Communicator::self();
  const CalibrationFit fit = calibrate(model, data, at::kFloat, self);
  const std::vector<PositionBucket> one =
      calibrate_by_position(model, data, data, 1, fit.temperature, at::kFloat, world);
  ASSERT_EQ(one.size(), 1u);
  EXPECT_NEAR(one[0].fit.temperature, fit.temperature, 1e-6);
  EXPECT_EQ(one[0].fit.passes, fit.passes);
  EXPECT_NEAR(one[0].nll_after, one[0].nll_single, 1e-9);
  EXPECT_NEAR(one[0].nll_before, fit.nll_before, 1e-6);

  const auto by = [&](const Communicator& comm) {
    return calibrate_by_position(model, data, data, 3, fit.temperature, at::kFloat, comm);
  };
  const std::vector<PositionBucket> many = by(world), alone = by(self);
  int64_t tokens = 0;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(many[i].begin, std::vector<int64_t>({0, 21, 42})[i]);
    EXPECT_EQ(many[i].end, std::vector<int64_t>({21, 42, 64})[i]);
    EXPECT_NEAR(many[i].fit.temperature, alone[i].fit.temperature, 1e-6);
    EXPECT_NEAR(many[i].nll_after, alone[i].nll_after, 1e-6);
    EXPECT_LE(many[i].nll_after, many[i].nll_single + 1e-9);  // measured where it was fitted
    EXPECT_LT(many[i].nll_single, many[i].nll_before);
    tokens += many[i].tokens;
  }
  EXPECT_EQ(tokens, one[0].tokens);
  EXPECT_NE(many[0].fit.temperature, many[1].fit.temperature);
}

TEST(EvaluationTest, EachPositionIsFittedByItsOwnTokens) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const Transformer model = small_model(corpus->vocab());
  const HeldOut data{corpus.get(), Part::kFit, 64, 64 * 23, 3};
  std::vector<at::Tensor> logits, labels;
  for_each_logits(model, data, at::kFloat, Communicator::self(), [&](const LogitsChunk& chunk) {
    const at::Tensor late = (chunk.positions >= 32).nonzero().squeeze(1);
    logits.push_back(chunk.logits.index_select(0, late));
    labels.push_back(chunk.labels.index_select(0, late));
  });
  const at::Tensor z = at::cat(logits), y = at::cat(labels);
  const double alone =
      fit_temperature([&](double beta) { return calibration_sums(z, y, beta); }).temperature;
  const std::vector<PositionBucket> buckets =
      calibrate_by_position(model, data, data, 2, 1.0, at::kFloat, Communicator::world());
  EXPECT_NEAR(buckets[1].fit.temperature, alone, 1e-6);
  EXPECT_EQ(buckets[1].tokens, y.numel());
}

// One rank is asked in the middle of a pass: all leave, and nobody gets numbers of half the rows.
TEST(EvaluationTest, NoPassEndsWithHalfOfItsRows) {
  const std::unique_ptr<Corpus> corpus = open_corpus(DataConfig{}, "", false);
  const Transformer model = small_model(corpus->vocab());
  HeldOut data{corpus.get(), Part::kFit, 64, 64 * 23, 3};
  const Communicator world = Communicator::world();
  for (const int polls : {0, 1, 2}) {
    int asked = 0;
    data.asked_to_stop = [&] { return world.rank() == world.size() - 1 && asked++ >= polls; };
    const auto stops = [&](const auto& pass) {
      asked = 0;
      EXPECT_THROW(pass(), EvaluationStopped) << "after " << polls;
    };
    stops([&] { calibrate(model, data, at::kFloat, world); });
    stops([&] { evaluate(model, data, at::kFloat, world, {1.0}); });
    stops([&] { calibrate_by_position(model, data, data, 3, 1.0, at::kFloat, world); });
    stops([&] { compare_with_teacher(model, model, data, at::kFloat, world); });
  }
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
  for_each_logits(student, data, at::kFloat, Communicator::self(),
                  [&](const LogitsChunk& chunk) { p.push_back(chunk.logits.clone()); });
  for_each_logits(teacher, data, at::kFloat, Communicator::self(),
                  [&](const LogitsChunk& chunk) { q.push_back(chunk.logits.clone()); });
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
