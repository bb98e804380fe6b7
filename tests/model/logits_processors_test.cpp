// Each processor against transformers' own, and draws against the distribution they are from.
#include "model/logits_processors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "model/safetensors.h"
#include "model/sampler.h"

namespace temper {
namespace {

class LogitsProcessorsTest : public testing::Test {
 protected:
  LogitsProcessorsTest()
      : kept_(std::string(TEMPER_SOURCE_DIR) +
              "/tests/model/golden_generation/processors.safetensors"),
        scores_(kept_.tensor("scores").clone()) {
    const at::Tensor ids = kept_.tensor("ids");  // (R, S)
    for (int64_t row = 0; row < ids.size(0); ++row) {
      const at::Tensor line = ids[row].contiguous();
      const int64_t* begin = line.const_data_ptr<int64_t>();
      texts_.emplace_back(begin, begin + line.numel());
    }
  }

  void expect_kept(const at::Tensor& ours, const std::string& name) const {
    const at::Tensor wanted = kept_.tensor(name);  // (R, V)
    EXPECT_TRUE(at::equal(at::isinf(ours), at::isinf(wanted))) << name;
    EXPECT_TRUE(at::allclose(ours, wanted, 1e-6, 1e-6)) << name;
    const at::Tensor difference =
        (at::softmax(ours, -1) - at::softmax(wanted, -1)).abs();  // (R, V)
    EXPECT_LE(difference.max().item<double>(), 1e-5) << name;     // not a number where all are -inf
  }

  template <typename F>
  void alone(const std::string& name, F change) const {
    const at::Tensor ours = scores_.clone();  // (R, V)
    change(ours);
    expect_kept(ours, "alone." + name);
  }

  const SafetensorsFile kept_;
  const at::Tensor scores_;  // (R, V)
  std::vector<TokenIds> texts_;
};

using Scores = const at::Tensor&;

TEST_F(LogitsProcessorsTest, EachIsThatOfTransformers) {
  alone("repetition", [&](Scores s) { penalize_repetition(s, texts_, 1.3); });
  alone("reward", [&](Scores s) { penalize_repetition(s, texts_, 0.7); });
  alone("unigram", [&](Scores s) { forbid_repeated_ngrams(s, texts_, 1); });
  alone("bigram", [&](Scores s) { forbid_repeated_ngrams(s, texts_, 2); });
  alone("trigram", [&](Scores s) { forbid_repeated_ngrams(s, texts_, 3); });
  alone("long", [&](Scores s) { forbid_repeated_ngrams(s, texts_, 25); });
  alone("min_length", [&](Scores s) { forbid_tokens(s, {3, 17}); });
  alone("temperature", [&](Scores s) { divide_by_temperature(s, 0.7); });
  alone("hot", [&](Scores s) { divide_by_temperature(s, 3.0); });
  alone("top_k", [&](Scores s) { keep_top_k(s, 10); });
  alone("top_k_all", [&](Scores s) { keep_top_k(s, 1000); });
  alone("top_p", [&](Scores s) { keep_top_p(s, 0.9); });
  alone("top_p_small", [&](Scores s) { keep_top_p(s, 0.05); });
  alone("top_p_none", [&](Scores s) { keep_top_p(s, 0.0); });
  alone("min_p", [&](Scores s) { keep_min_p(s, 0.05); });
  alone("min_p_all", [&](Scores s) { keep_min_p(s, 1.0); });
}

TEST_F(LogitsProcessorsTest, TheOrderIsThatOfTransformers) {
  Decoding decoding;
  decoding.do_sample = true;
  decoding.temperature = 1.0;
  decoding.top_k = 0;
  const auto processed = [&] {
    const at::Tensor ours = scores_.clone();  // (R, V)
    process_logits(ours, texts_, /*new_tokens=*/4, decoding);
    return ours;
  };
  EXPECT_TRUE(at::equal(processed(), scores_));
  decoding.repetition_penalty = 1.3;
  expect_kept(processed(), "chain.repetition");
  decoding.no_repeat_ngram_size = 3;
  expect_kept(processed(), "chain.trigram");
  decoding.min_length = 25;
  decoding.eos_token_id = {3, 17};
  expect_kept(processed(), "chain.min_length");
  decoding.min_length = 24;  // long enough already
  decoding.min_new_tokens = 5;
  expect_kept(processed(), "chain.min_length");
  decoding.temperature = 0.7;
  expect_kept(processed(), "chain.temperature");
  decoding.top_k = 10;
  expect_kept(processed(), "chain.top_k");
  decoding.top_p = 0.9;
  expect_kept(processed(), "chain.top_p");
  decoding.min_p = 0.05;
  expect_kept(processed(), "chain.min_p");
  decoding.do_sample = false;
  expect_kept(processed(), "chain.min_length");
}

TEST_F(LogitsProcessorsTest, NoTemperatureChangesTheLikeliestToken) {
  const std::vector<int64_t> wanted = likeliest_tokens(scores_);
  for (const double temperature : {0.05, 0.3, 0.9612, 1.7, 12.0}) {
    const at::Tensor ours = scores_.clone();  // (R, V)
    divide_by_temperature(ours, temperature);
    EXPECT_EQ(likeliest_tokens(ours), wanted) << temperature;
  }
}

// Pearson's chi-squared: draws against what the processed scores say of them.
TEST_F(LogitsProcessorsTest, DrawsFollowTheDistribution) {
  constexpr int64_t kDraws = 100000, kAtOnce = 1000;
  for (const int64_t row : {0, 1, 4}) {
    const at::Tensor scores = scores_.narrow(0, row, 1).clone();  // (1, V)
    keep_top_k(scores, 40);
    const at::Tensor chances = at::softmax(scores, -1, at::kDouble)[0];  // (V)
    std::vector<int64_t> count(static_cast<size_t>(scores.size(1)), 0);
    for (int64_t begin = 0; begin < kDraws; begin += kAtOnce) {
      std::vector<DrawKey> keys;
      for (int64_t i = begin; i < begin + kAtOnce; ++i) {
        keys.push_back({7, static_cast<uint64_t>(i), 0, static_cast<uint64_t>(row)});
      }
      for (const int64_t token : sample_tokens(scores.expand({kAtOnce, -1}), keys)) {
        ++count[static_cast<size_t>(token)];
      }
    }
    double statistic = 0, rest = 0, rest_count = 0;
    int freedom = -1;
    const auto add = [&](double found, double expected) {
      statistic += (found - expected) * (found - expected) / expected;
      ++freedom;
    };
    for (size_t token = 0; token < count.size(); ++token) {
      const double expected = chances[static_cast<int64_t>(token)].item<double>() * kDraws;
      const auto found = static_cast<double>(count[token]);
      if (expected == 0) {
        EXPECT_EQ(found, 0) << token;
      } else if (expected < 5) {  // too rare for the test: taken together
        rest += expected;
        rest_count += found;
      } else {
        add(found, expected);
      }
    }
    if (rest >= 5) add(rest_count, rest);
    ASSERT_GE(freedom, 10);
    // The 99.9% point, after Wilson and Hilferty.
    const double k = freedom, third = 2.0 / (9.0 * k);
    const double limit = k * std::pow(1.0 - third + 3.0902 * std::sqrt(third), 3);
    EXPECT_LE(statistic, limit) << "row " << row << ", " << freedom << " degrees of freedom";
    RecordProperty("statistic_" + std::to_string(row), std::to_string(statistic / limit));
  }
}

TEST(SamplerTest, WhatHasNoChanceIsNeverDrawn) {
  constexpr float kNever = -std::numeric_limits<float>::infinity();
  const at::Tensor scores = at::tensor({kNever, 1.0f, kNever, kNever, 1.0f, kNever});  // (V)
  std::vector<DrawKey> keys;
  for (uint64_t i = 0; i < 2000; ++i) keys.push_back({1, i, 0, 0});
  int64_t first = 0;
  for (const int64_t token : sample_tokens(scores.expand({2000, -1}), keys)) {
    EXPECT_TRUE(token == 1 || token == 4) << token;
    first += token == 1;
  }
  EXPECT_NEAR(static_cast<double>(first), 1000, 100);
  EXPECT_THROW(sample_tokens(at::full({1, 3}, kNever), {{}}), c10::Error);
  EXPECT_THROW(sample_tokens(at::full({1, 3}, std::nanf("")), {{}}), c10::Error);
}

}  // namespace
}  // namespace temper
