// Rows of one long sequence: parts apart, epochs complete, orders that differ.
#include "data/token_stream.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "data/text_corpus.h"

namespace temper {
namespace {

/// Token t is the number t, so that a row shows where it came from.
TextCorpus counting(int64_t tokens) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  std::iota(ids.begin(), ids.end(), 0);
  return TextCorpus("counting", ids, part_sizes(tokens, 0.1, 0.2), tokens, "numbers", "");
}

TEST(TokenStreamTest, PermutationVisitsEveryPositionOnce) {
  for (const uint64_t count : {1u, 2u, 3u, 17u, 64u, 1000u}) {
    std::set<uint64_t> seen;
    for (uint64_t i = 0; i < count; ++i) seen.insert(permuted(i, count, 42));
    EXPECT_EQ(seen.size(), count);
    EXPECT_EQ(*seen.rbegin(), count - 1);
  }
}

TEST(TokenStreamTest, PartsNeverOverlap) {
  const TextCorpus corpus = counting(1000);
  std::set<int64_t> used[3];
  for (const Part part : {Part::kTrain, Part::kFit, Part::kTest}) {
    const int64_t rows = corpus.rows(part, 7) * (part == Part::kTrain ? 20 : 1);
    const Batch batch = corpus.read(part, 3, 0, rows, 7);
    for (const at::Tensor& ids : {batch.tokens, batch.labels}) {
      const at::Tensor flat = ids.reshape(-1);
      for (int64_t i = 0; i < flat.numel(); ++i)
        used[static_cast<int>(part)].insert(flat[i].item<int64_t>());
    }
    EXPECT_TRUE(at::equal(batch.tokens + 1, batch.labels));
  }
  EXPECT_LT(*used[0].rbegin(), 700);
  EXPECT_GE(*used[1].begin(), 700);
  EXPECT_LT(*used[1].rbegin(), 800);
  EXPECT_GE(*used[2].begin(), 800);
}

TEST(TokenStreamTest, AnEpochVisitsEachWindowOnceInItsOwnOrder) {
  const TextCorpus corpus = counting(1000);
  const int64_t rows = corpus.rows(Part::kTrain, 10);
  std::vector<at::Tensor> orders;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    const at::Tensor starts =
        corpus.read(Part::kTrain, 3, epoch * rows, rows, 10).tokens.select(1, 0);
    const at::Tensor sorted = std::get<0>(starts.sort());
    EXPECT_TRUE(at::equal(sorted - sorted[0], at::arange(rows) * 10));
    orders.push_back(starts);
  }
  EXPECT_FALSE(at::equal(orders[0] - orders[0].min(), orders[1] - orders[1].min()));
  EXPECT_FALSE(at::equal(corpus.read(Part::kTrain, 4, 0, rows, 10).tokens.select(1, 0), orders[0]));
  EXPECT_TRUE(at::equal(corpus.read(Part::kTrain, 3, 5, 1, 10).tokens[0][0], orders[0][5]));
}

TEST(TokenStreamTest, TooShortAPartIsAnError) {
  const TextCorpus corpus = counting(50);
  EXPECT_EQ(corpus.rows(Part::kFit, 10), 0);
  EXPECT_THROW(corpus.read(Part::kFit, 0, 0, 1, 10), c10::ValueError);
}

}  // namespace
}  // namespace temper
