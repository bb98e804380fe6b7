// The built-in language as a corpus: pure functions of (seed, row), parts that share nothing, a
// known entropy.
#include "data/builtin_language.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <set>

namespace temper {
namespace {

BuiltinLanguage language() { return BuiltinLanguage(LanguageShape::for_vocab(256), 1); }

std::string key(const at::Tensor& row) {
  const at::Tensor ids = row.contiguous();
  return {reinterpret_cast<const char*>(ids.const_data_ptr<int64_t>()),
          static_cast<size_t>(ids.numel()) * 8};
}

TEST(BuiltinLanguageTest, ARowIsAFunctionOfSeedAndIndex) {
  const BuiltinLanguage corpus = language();
  const Batch all = corpus.read(Part::kTrain, 9, 100, 8, 64);
  for (int64_t b = 0; b < 8; ++b) {
    const Batch one = corpus.read(Part::kTrain, 9, 100 + b, 1, 64);
    EXPECT_TRUE(at::equal(one.tokens[0], all.tokens[b]));
    EXPECT_TRUE(at::equal(one.labels[0], all.labels[b]));
  }
  EXPECT_FALSE(at::equal(corpus.read(Part::kTrain, 10, 100, 8, 64).tokens, all.tokens));
  EXPECT_TRUE(at::equal(corpus.read(Part::kTest, 9, 0, 8, 64).tokens,
                        corpus.read(Part::kTest, 10, 0, 8, 64).tokens));
}

TEST(BuiltinLanguageTest, LabelsFollowAndStartsAreIgnored) {
  const Batch batch = language().read(Part::kTrain, 1, 0, 64, 128);
  EXPECT_TRUE(at::equal(batch.tokens.select(1, 0), at::zeros({64}, at::kLong)));
  const at::Tensor next = batch.tokens.narrow(1, 1, 127),
                   label = batch.labels.narrow(1, 0, 127);  // (B, S - 1)
  EXPECT_TRUE(at::equal(at::where(next == 0, at::full_like(next, kIgnoredLabel), next), label));
  EXPECT_GT((next == 0).sum().item<int64_t>(), 0);
  EXPECT_LT(batch.tokens.max().item<int64_t>(), 256);
}

TEST(BuiltinLanguageTest, PartsNeverOverlap) {
  const BuiltinLanguage corpus = language();
  std::set<std::string> rows;
  int64_t count = 0;
  const auto add = [&](Part part, uint64_t seed, int64_t n) {
    const at::Tensor tokens = corpus.read(part, seed, 0, n, 64).tokens;
    for (int64_t b = 0; b < n; ++b, ++count) rows.insert(key(tokens[b]));
  };
  add(Part::kFit, 0, corpus.rows(Part::kFit, 64));
  add(Part::kTest, 0, corpus.rows(Part::kTest, 64));
  for (uint64_t seed = 0; seed < 4; ++seed) add(Part::kTrain, seed, 2000);
  EXPECT_EQ(static_cast<int64_t>(rows.size()), count);
}

TEST(BuiltinLanguageTest, TrueProbabilitiesAgreeAndBeatShortContexts) {
  const BuiltinLanguage corpus = language();
  const Batch batch = corpus.read(Part::kTest, 0, 0, 64, 128);
  const at::Tensor log_p = corpus.true_log_probs(batch);   // (B, S)
  const at::Tensor valid = batch.labels != kIgnoredLabel;  // (B, S)
  EXPECT_TRUE(at::equal(log_p == 0, valid.logical_not()));
  const at::Tensor p = corpus.true_distribution(batch.tokens[3], 0, 128);  // (S, V)
  EXPECT_TRUE(at::allclose(corpus.true_distribution(batch.tokens[3], 40, 50), p.narrow(0, 40, 50),
                           0, 1e-12));
  EXPECT_TRUE(at::allclose(p.sum(1), at::ones({128}, at::kDouble), 0, 1e-12));
  for (int64_t s = 0; s < 128; ++s) {
    if (!valid[3][s].item<bool>()) continue;
    EXPECT_NEAR(p[s][batch.labels[3][s].item<int64_t>()].log().item<double>(),
                log_p[3][s].item<double>(), 1e-10);
  }
  // Counted on much more text than is needed: what the last token alone tells is far from what the
  // whole past tells.
  const Batch much = corpus.read(Part::kTrain, 1, 0, 4096, 128);
  const at::Tensor kept = (much.labels != kIgnoredLabel).reshape(-1).nonzero().squeeze(1);
  const at::Tensor pairs =
      (much.tokens.reshape(-1) * 256 + much.labels.reshape(-1)).index_select(0, kept);
  const at::Tensor counts =
      at::bincount(pairs, {}, 256 * 256).view({256, 256}).to(at::kDouble) + 0.05;
  const at::Tensor bigram = (counts / counts.sum(1, true)).log();  // (V, V)
  const at::Tensor here = valid.reshape(-1).nonzero().squeeze(1);
  const at::Tensor index =
      (batch.tokens.reshape(-1) * 256 + batch.labels.reshape(-1)).index_select(0, here);
  const double bigram_nll = -bigram.reshape(-1).index_select(0, index).mean().item<double>();
  const double truth_nll = -(log_p.sum() / here.numel()).item<double>();
  EXPECT_GT(bigram_nll, truth_nll + 0.2);
}

TEST(BuiltinLanguageTest, EntropyRateIsThatOfItsRows) {
  const BuiltinLanguage corpus = language();
  const std::optional<EntropyRate> rate = corpus.entropy_rate();
  ASSERT_TRUE(rate);
  EXPECT_LT(rate->standard_error, 0.01);
  const Batch batch = corpus.read(Part::kTest, 0, 0, 256, 256);
  const double nll =
      -(corpus.true_log_probs(batch).sum() / (batch.labels != kIgnoredLabel).sum()).item<double>();
  EXPECT_NEAR(rate->nats_per_token, nll, 6 * rate->standard_error);
}

TEST(BuiltinLanguageTest, EveryVocabularyWorks) {
  for (const int64_t vocab : {16, 100, 4096}) {
    const BuiltinLanguage corpus(LanguageShape::for_vocab(vocab), 2);
    const Batch batch = corpus.read(Part::kTest, 0, 0, 4, 64);
    EXPECT_LT(batch.tokens.max().item<int64_t>(), vocab);
    EXPECT_TRUE(at::isfinite(corpus.true_log_probs(batch)).all().item<bool>());
  }
}

}  // namespace
}  // namespace temper
