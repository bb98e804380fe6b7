// The rows of a recording, in the order in which a run learns from them: first as they were
// recorded, then in a new order each pass. A recording has an end and a run may be longer.
#pragma once

#include <cstdint>

#include "data/corpus.h"

namespace temper {

/// Which recorded row stands where in a run.
struct ReplayOrder {
  int64_t rows = 0;            ///< recorded, more than 0
  uint64_t recorded_seed = 0;  ///< the seed of the data's order while recording

  /// The recorded row, in [0, rows), at `place` (0-based) of a run whose data are ordered by
  /// `seed`. Pass n has the places [n·rows, (n + 1)·rows) and visits every row once: in the
  /// recorded order where n is 0 and the seed is the recorded one, otherwise in a permutation
  /// given by (seed, n).
  int64_t row(uint64_t seed, int64_t place) const;
};

/// A corpus whose training rows are those of a recording. Held-out parts are those of `base`, which
/// must outlive this object.
class ReplayCorpus : public Corpus {
 public:
  ReplayCorpus(const Corpus& base, const ReplayOrder& order) : base_(base), order_(order) {}

  int64_t vocab() const override { return base_.vocab(); }
  int64_t rows(Part part, int64_t seq) const override;
  Batch read(Part part, uint64_t seed, int64_t first, int64_t count, int64_t seq) const override;
  std::string describe() const override { return base_.describe(); }
  uint64_t fingerprint() const override { return base_.fingerprint(); }
  std::string tokenizer_file() const override { return base_.tokenizer_file(); }
  std::optional<EntropyRate> entropy_rate() const override { return base_.entropy_rate(); }
  at::Tensor true_log_probs(const Batch& batch) const override {
    return base_.true_log_probs(batch);
  }
  at::Tensor true_distribution(const at::Tensor& tokens, int64_t first,
                               int64_t count) const override {
    return base_.true_distribution(tokens, first, count);
  }

 private:
  const Corpus& base_;
  ReplayOrder order_;
};

}  // namespace temper
