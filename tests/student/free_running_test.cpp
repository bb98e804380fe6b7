// Rows that the student writes itself, or of which it replaces some tokens.
#include "student/free_running.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "student/writing.h"
#include "tests/model/small_shape.h"

namespace temper {
namespace {

constexpr int64_t kVocab = 7, kRows = 6, kSeq = 12;

Transformer small_model() {
  Transformer model(small_shape(kVocab, kSeq, 1, 16));
  model.init_weights(3);
  const at::NoGradGuard no_grad;
  model.flat_weights().mul_(6);  // far from uniform
  return model;
}

Batch given_rows() {
  at::manual_seed(2);
  return {at::randint(kVocab, {kRows, kSeq}, at::kLong),
          at::randint(kVocab, {kRows, kSeq}, at::kLong)};
}

Batch rows_of(const Batch& batch, int64_t begin, int64_t count) {
  return {batch.tokens.narrow(0, begin, count), batch.labels.narrow(0, begin, count)};
}

TEST(FreeRunningTest, AWrittenRowGoesOnFromItsPrompt) {
  const Transformer model = small_model();
  const Batch given = given_rows();
  FreeRunningConfig config;
  config.prompt = 4;
  const Batch own = write_rows(model, at::kFloat, config, given, {.seed = 1, .step = 5});
  EXPECT_TRUE(own.tokens.narrow(1, 0, 4).equal(given.tokens.narrow(1, 0, 4)));
  EXPECT_FALSE(own.tokens.equal(given.tokens));
  EXPECT_TRUE((own.labels.narrow(1, 0, 3) == kIgnoredLabel).all().item<bool>());
  EXPECT_TRUE(own.labels.narrow(1, 3, 8).equal(own.tokens.narrow(1, 4, 8)));
  EXPECT_TRUE((own.labels.narrow(1, 11, 1) == kIgnoredLabel).all().item<bool>());
}

// Draws depend on where a row stands in the global batch, not on who computes it.
TEST(FreeRunningTest, PartsOfABatchGiveTheSameRows) {
  const Transformer model = small_model();
  const Batch given = given_rows();
  FreeRunningConfig config;
  const Batch whole = write_rows(model, at::kDouble, config, given, {.seed = 1, .step = 5});
  const Batch mixed = mix_rows(model, at::kDouble, 0.5, given, {.seed = 1, .step = 5});
  for (const int64_t begin : {0, 2, 4}) {
    const DrawPlace place = {.seed = 1, .step = 5, .first_row = begin};
    const Batch part = rows_of(given, begin, 2);
    EXPECT_TRUE(write_rows(model, at::kDouble, config, part, place)
                    .tokens.equal(whole.tokens.narrow(0, begin, 2)));
    EXPECT_TRUE(mix_rows(model, at::kDouble, 0.5, part, place)
                    .tokens.equal(mixed.tokens.narrow(0, begin, 2)));
  }
  const Batch later = write_rows(model, at::kDouble, config, given, {.seed = 1, .step = 6});
  EXPECT_FALSE(later.tokens.equal(whole.tokens));
}

// What is drawn has the model's distribution: chi-squared over the first token behind one prompt.
TEST(FreeRunningTest, WritesWithItsOwnProbabilities) {
  const Transformer model = small_model();
  constexpr int64_t kMany = 4000;
  const at::Tensor prompt = at::tensor({1, 4, 2}, at::kLong);  // (P)
  for (const double temperature : {1.0, 2.0}) {
    FreeRunningConfig config;
    config.prompt = 3;
    config.temperature = temperature;
    Batch given;
    given.tokens = at::zeros({kMany, 4}, at::kLong);
    given.tokens.narrow(1, 0, 3).copy_(prompt.expand({kMany, 3}));
    const Batch own = write_rows(model, at::kFloat, config, given, {.seed = 9, .step = 0});
    const at::NoGradGuard no_grad;
    const at::Tensor logits = at::linear(model.hidden(prompt.unsqueeze(0), at::kFloat)[0][2],
                                         model.head());                         // (V)
    const at::Tensor expected = at::softmax(logits / temperature, 0) * kMany;   // (V)
    const at::Tensor seen = at::bincount(own.tokens.select(1, 3), {}, kVocab);  // (V)
    const double chi = ((seen - expected).square() / expected).sum().item<double>();
    EXPECT_LT(chi, 22.5);  // 6 degrees of freedom: p = 0.001
  }
}

TEST(FreeRunningTest, MixingReplacesThatShare) {
  const Transformer model = small_model();
  Batch given;
  given.tokens = at::full({400, kSeq}, 3, at::kLong);
  given.labels = given.tokens;
  const Batch none = mix_rows(model, at::kFloat, 0, given, {.seed = 1, .step = 2});
  EXPECT_TRUE(none.tokens.equal(given.tokens));
  const Batch all = mix_rows(model, at::kFloat, 1, given, {.seed = 1, .step = 2});
  EXPECT_TRUE(all.tokens.select(1, 0).equal(given.tokens.select(1, 0)));
  EXPECT_TRUE(all.labels.equal(given.labels));
  // Drawn tokens differ from the given one as often as the model says.
  const at::NoGradGuard no_grad;
  const at::Tensor p = at::softmax(
      at::linear(model.hidden(given.tokens.narrow(0, 0, 1), at::kFloat), model.head()), 2)[0];
  const double differs = 1 - p.narrow(0, 0, kSeq - 1).select(1, 3).mean().item<double>();
  const auto share = [&](const Batch& batch) {
    return (batch.tokens.narrow(1, 1, kSeq - 1) != 3).to(at::kDouble).mean().item<double>();
  };
  EXPECT_NEAR(share(all), differs, 0.03);
  const Batch some = mix_rows(model, at::kFloat, 0.3, given, {.seed = 1, .step = 2});
  EXPECT_NEAR(share(some), 0.3 * differs, 0.03);
}

// Rows of a model's vocabulary that the data do not have are never drawn, however likely.
TEST(FreeRunningTest, PaddingIsNotDrawn) {
  const Transformer model = small_model();
  Batch given = given_rows();
  given.tokens.remainder_(4);
  for (const int64_t vocab : {0, 4}) {
    const DrawPlace place = {.seed = 1, .step = 5, .vocab = vocab};
    FreeRunningConfig config;
    config.temperature = 8;  // near to uniform
    const int64_t written =
        write_rows(model, at::kFloat, config, given, place).tokens.max().item<int64_t>();
    const int64_t mixed = mix_rows(model, at::kFloat, 1, given, place).tokens.max().item<int64_t>();
    EXPECT_EQ(written >= 4, vocab == 0);
    EXPECT_EQ(mixed >= 4, vocab == 0);
    Decoding search;
    search.num_beams = 3;
    EXPECT_EQ(write_rows(Decoder(model, at::kFloat), search, 3, given, place)
                      .tokens.max()
                      .item<int64_t>() >= 4,
              vocab == 0);
  }
}

TEST(FreeRunningTest, TheShareOfStepsIsThatOfTheOption) {
  FreeRunningConfig config;
  for (const double share : {0.0, 0.25, 1.0}) {
    config.on_policy = share;
    int written = 0;
    for (int64_t step = 0; step < 4000; ++step) written += config.writes(step, 1) ? 1 : 0;
    EXPECT_NEAR(written / 4000.0, share, share == 0.25 ? 0.03 : 0.0);
  }
  config = {};
  config.scheduled_sampling = 0.5;
  EXPECT_EQ(config.mixes(0, 101), 0);
  EXPECT_DOUBLE_EQ(config.mixes(50, 101), 0.25);
  EXPECT_DOUBLE_EQ(config.mixes(100, 101), 0.5);
}

TEST(FreeRunningTest, RepeatedNgramsAreCounted) {
  const std::vector<int64_t> ids = {1, 2, 3, 1, 2, 3, 1, 2};
  const Repeats of_three = repeated_ngrams(ids.data(), 8, 3);  // 123 231 312 123 231 312
  EXPECT_EQ(of_three.all, 6);
  EXPECT_EQ(of_three.repeated, 3);
  EXPECT_EQ(repeated_ngrams(ids.data(), 2, 3).all, 0);
}

TEST(FreeRunningTest, BadValuesAreNamed) {
  for (const auto& set : {+[](FreeRunningConfig& c) { c.on_policy = 1.5; },
                          +[](FreeRunningConfig& c) { c.scheduled_sampling = -0.1; },
                          +[](FreeRunningConfig& c) { c.prompt = 12; },
                          +[](FreeRunningConfig& c) { c.temperature = 0; }}) {
    FreeRunningConfig config;
    set(config);
    EXPECT_THROW(config.validate(12), c10::ValueError);
  }
}

}  // namespace
}  // namespace temper
