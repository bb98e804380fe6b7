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

/// Documents of `seq` tokens, whose ids tell document and place: 100 · document + place.
class Documents : public TokenStream {
 public:
  Documents(int64_t documents, int64_t seq)
      : TokenStream(100 * documents, part_sizes(documents * seq, 0.1, 0.2), /*aligned_rows=*/true),
        seq_(seq) {}
  std::string describe() const override { return "documents"; }
  uint64_t fingerprint() const override { return 0; }

 protected:
  void copy(int64_t begin, int64_t count, int64_t* out) const override {
    for (int64_t at = begin; at < begin + count; ++at) *out++ = 100 * (at / seq_) + at % seq_;
  }

 private:
  int64_t seq_;
};

TEST(TokenStreamTest, AnAlignedRowIsADocument) {
  constexpr int64_t kSeq = 7;
  const Documents corpus(43, kSeq);  // no part begins at a document
  for (const Part part : {Part::kTrain, Part::kFit, Part::kTest}) {
    const int64_t rows = corpus.rows(part, kSeq), epochs = part == Part::kTrain ? 3 : 1;
    ASSERT_GT(rows, 2);
    for (int64_t epoch = 0; epoch < epochs; ++epoch) {
      std::set<int64_t> documents;
      const Batch batch = corpus.read(part, 3, epoch * rows, rows, kSeq);
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t first = batch.tokens[row][0].item<int64_t>();
        EXPECT_EQ(first % 100, 0);
        documents.insert(first / 100);
        EXPECT_TRUE(at::equal(batch.tokens[row], first + at::arange(kSeq)));
        EXPECT_TRUE(at::equal(batch.labels[row].narrow(0, 0, kSeq - 1),
                              batch.tokens[row].narrow(0, 1, kSeq - 1)));
        EXPECT_EQ(batch.labels[row][kSeq - 1].item<int64_t>(), kIgnoredLabel);
      }
      EXPECT_EQ(static_cast<int64_t>(documents.size()), rows);
    }
  }
  EXPECT_EQ(corpus.rows(Part::kTrain, kSeq), 30);  // whole ones in the first 211 of 301 tokens
}

TEST(TokenStreamTest, TooShortAPartIsAnError) {
  const TextCorpus corpus = counting(50);
  EXPECT_EQ(corpus.rows(Part::kFit, 10), 0);
  EXPECT_THROW(corpus.read(Part::kFit, 0, 0, 1, 10), c10::ValueError);
}

}  // namespace
}  // namespace temper
