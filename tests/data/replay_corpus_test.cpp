// Rows of a recording: in recorded order first, then every pass complete and in its own order.
#include "data/replay_corpus.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <numeric>
#include <set>

#include "data/text_corpus.h"

namespace temper::replay_corpus_test {
namespace {

TextCorpus counting(int64_t tokens) {
  std::vector<int32_t> ids(static_cast<size_t>(tokens));
  std::iota(ids.begin(), ids.end(), 0);
  return TextCorpus("counting", ids, part_sizes(tokens, 0.1, 0.2), tokens, "numbers", "");
}

std::vector<int64_t> rows_of_pass(const ReplayOrder& order, uint64_t seed, int64_t pass) {
  std::vector<int64_t> rows;
  for (int64_t at = 0; at < order.rows; ++at)
    rows.push_back(order.row(seed, pass * order.rows + at));
  return rows;
}

TEST(ReplayCorpusTest, TheFirstPassIsAsRecorded) {
  const ReplayOrder order{.rows = 23, .recorded_seed = 7};
  const std::vector<int64_t> rows = rows_of_pass(order, 7, 0);
  for (int64_t i = 0; i < 23; ++i) EXPECT_EQ(rows[static_cast<size_t>(i)], i);
}

TEST(ReplayCorpusTest, EveryPassIsCompleteAndHasItsOwnOrder) {
  const ReplayOrder order{.rows = 23, .recorded_seed = 7};
  std::set<std::vector<int64_t>> orders;
  for (const uint64_t seed : {7u, 8u}) {
    for (int64_t pass = 0; pass < 4; ++pass) {
      const std::vector<int64_t> rows = rows_of_pass(order, seed, pass);
      EXPECT_EQ(std::set<int64_t>(rows.begin(), rows.end()).size(), 23u);
      EXPECT_GE(*std::min_element(rows.begin(), rows.end()), 0);
      EXPECT_LT(*std::max_element(rows.begin(), rows.end()), 23);
      orders.insert(rows);
    }
  }
  EXPECT_EQ(orders.size(), 8u);
}

TEST(ReplayCorpusTest, GivesTheRecordedRows) {
  const TextCorpus base = counting(1000);
  const ReplayOrder order{.rows = 11, .recorded_seed = 3};
  const ReplayCorpus replay(base, order);
  EXPECT_EQ(replay.rows(Part::kTrain, 8), 11);
  EXPECT_EQ(replay.rows(Part::kTest, 8), base.rows(Part::kTest, 8));
  // From the end of the first pass into the second, with the run's own seed.
  for (const uint64_t seed : {3u, 4u}) {
    const Batch batch = replay.read(Part::kTrain, seed, 5, 12, 8);
    ASSERT_EQ(batch.tokens.sizes(), at::IntArrayRef({12, 8}));
    for (int64_t i = 0; i < 12; ++i) {
      const Batch one = base.read(Part::kTrain, 3, order.row(seed, 5 + i), 1, 8);
      EXPECT_TRUE(at::equal(batch.tokens[i], one.tokens[0]));
      EXPECT_TRUE(at::equal(batch.labels[i], one.labels[0]));
    }
  }
  EXPECT_TRUE(at::equal(replay.read(Part::kFit, 9, 1, 2, 8).tokens,
                        base.read(Part::kFit, 9, 1, 2, 8).tokens));
}

}  // namespace
}  // namespace temper::replay_corpus_test
