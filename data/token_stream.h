// One long sequence of token ids, cut into three parts that never overlap, and into rows. Texts and
// token files share it.
#pragma once

#include <array>
#include <string>

#include "data/corpus.h"

namespace temper {

class TokenStream : public Corpus {
 public:
  int64_t vocab() const override { return vocab_; }

  /// Windows of seq + 1 tokens (the labels are one further on and stay inside the part), without
  /// overlap of inputs; of seq tokens where rows are aligned. 0 where the part is too short.
  int64_t rows(Part part, int64_t seq) const override;

  /// Training: every epoch visits all its windows once, in an order and with a phase (where the
  /// first window begins) of its own, both given by (seed, epoch). Held-out parts: windows in
  /// order.
  ///
  /// Aligned rows begin at multiples of `seq` in the whole sequence, in every epoch: each is one
  /// document where all documents have `seq` tokens. What follows its last token is another
  /// document's: that label is kIgnoredLabel.
  Batch read(Part part, uint64_t seed, int64_t first, int64_t count, int64_t seq) const override;

 protected:
  /// `part_tokens`: how many of the tokens, from the first on, are to train, to fit and to test on.
  TokenStream(int64_t vocab, const std::array<int64_t, 3>& part_tokens, bool aligned_rows = false);

  /// Writes ids [begin, begin + count) to `out`.
  virtual void copy(int64_t begin, int64_t count, int64_t* out) const = 0;

  struct Range {
    int64_t begin = 0;
    int64_t end = 0;
    int64_t size() const { return end - begin; }
  };
  Range range(Part part) const;
  bool aligned_rows() const { return aligned_rows_; }
  /// Where the part's first row may begin.
  int64_t first_token(Part part, int64_t seq) const;
  /// "1000394 tokens to train on, 55769 to fit, 55769 to test".
  std::string describe_parts() const;

 private:
  int64_t vocab_;
  Range parts_[3];
  bool aligned_rows_;
};

/// Sizes of the three parts of `total` tokens or bytes: the last `test_share` to test on,
/// `fit_share` before it to fit on, the rest to train on.
std::array<int64_t, 3> part_sizes(int64_t total, double fit_share, double test_share);

/// A position in [0, count) for `index` in [0, count): a permutation given by the key, found
/// without a table (a Feistel network with cycle walking; Black and Rogaway 2002, "Ciphers with
/// arbitrary finite domains").
uint64_t permuted(uint64_t index, uint64_t count, uint64_t key);

}  // namespace temper
