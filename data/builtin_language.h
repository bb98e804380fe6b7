// The built-in synthetic language as a corpus: rows packed with documents of a process whose
// next-token distribution is known exactly (data/language_process.h). It needs no download, and
// gives what no corpus of real text can: the entropy floor of the loss and the exact probability of
// every label.
#pragma once

#include <mutex>

#include "data/corpus.h"
#include "data/language_process.h"

namespace temper {

class BuiltinLanguage : public Corpus {
 public:
  /// Tokens in each held-out part.
  static constexpr int64_t kHeldOutTokens = 65536;
  static constexpr int64_t kDefaultVocab = 256;

  BuiltinLanguage(const LanguageShape& shape, uint64_t language_seed);

  int64_t vocab() const override { return process_.shape().vocab; }
  /// Training rows are made on demand: INT64_MAX. Held-out parts have kHeldOutTokens / seq rows.
  int64_t rows(Part part, int64_t seq) const override;
  /// A row starts with a document; documents follow each other. A label that is a start token is
  /// ignored. Every part has random streams of its own: training rows depend on (seed, row),
  /// held-out rows on the row alone.
  Batch read(Part part, uint64_t seed, int64_t first, int64_t count, int64_t seq) const override;
  std::string describe() const override;
  uint64_t fingerprint() const override;
  /// Of rows as they are packed (documents of finite length, each from its start): mean −log
  /// p(label) of the process itself, by Monte Carlo over 2^17 labels with exact conditionals, the
  /// standard error from the means of rows. Computed at the first call (under a second), then kept.
  std::optional<EntropyRate> entropy_rate() const override;
  at::Tensor true_log_probs(const Batch& batch) const override;
  /// Each document of the row on its own.
  at::Tensor true_distribution(const at::Tensor& tokens, int64_t first,
                               int64_t count) const override;

 private:
  std::vector<int32_t> row(Part part, uint64_t seed, int64_t index, int64_t length) const;

  LanguageProcess process_;
  at::Tensor symbols_;  // (V, Z·K) float64, p(symbol | state) without echo
  uint64_t language_seed_;
  mutable std::mutex mutex_;
  mutable std::optional<EntropyRate> entropy_rate_;
};

}  // namespace temper
