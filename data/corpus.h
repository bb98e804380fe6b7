// A corpus hands out rows of token ids. Training rows are a pure function of (seed, row index), so
// that every rank, teacher or student, can make any row by itself and token ids need not travel.
// Three parts that never overlap: rows to train on, rows to fit the temperature on, and rows to
// test on.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

namespace temper {

/// A label that is not counted: no loss, no gradient, no metric (the value that PyTorch uses).
inline constexpr int64_t kIgnoredLabel = -100;

enum class Part { kTrain, kFit, kTest };

const char* part_name(Part part);

/// Rows of a corpus. `labels[b][s]` is the token that follows `tokens[b][s]`, or kIgnoredLabel
/// where none is to be learnt (the start of a document, padding).
struct Batch {
  at::Tensor tokens;  // (B, S) int64
  at::Tensor labels;  // (B, S) int64
};

/// An entropy rate with the precision to which it is known.
struct EntropyRate {
  double nats_per_token = 0;
  double standard_error = 0;  ///< of the Monte Carlo estimate; 0 where it is exact
};

class Corpus {
 public:
  virtual ~Corpus() = default;

  /// Number of distinct token ids: every id lies in [0, vocab()).
  virtual int64_t vocab() const = 0;

  /// Rows of `seq` tokens in a part. For kTrain the rows of one epoch; INT64_MAX where rows are
  /// made on demand.
  virtual int64_t rows(Part part, int64_t seq) const = 0;

  /// Rows [first, first + count) as a (count, seq) batch. For kTrain `first` counts on through the
  /// epochs without limit, each epoch in an order of its own given by `seed`; for the held-out
  /// parts the order is fixed, `seed` is not used and the range must lie within rows(part, seq).
  /// Thread-safe; not collective. Throws c10::ValueError that names the file and the value where
  /// the data are bad (a token id outside the vocabulary).
  virtual Batch read(Part part, uint64_t seed, int64_t first, int64_t count, int64_t seq) const = 0;

  /// One line for a person: source, size, vocabulary, parts.
  virtual std::string describe() const = 0;

  /// Changes when the data change: ranks compare it before the first step.
  virtual uint64_t fingerprint() const = 0;

  /// The tokenizer that made the ids, as open_tokenizer() and tokenizer_files() take it; empty
  /// where it is not known (token files) or there is none (the built-in language).
  virtual std::string tokenizer_file() const { return {}; }

  /// Entropy rate of the process that wrote the corpus, where it is known (the built-in language).
  virtual std::optional<EntropyRate> entropy_rate() const { return std::nullopt; }

  /// Exact log p(label | the row's tokens up to and including its own position) of the process that
  /// wrote the corpus: (B, S) float64, nats, 0 where the label is ignored; an undefined tensor
  /// where the process is not known.
  virtual at::Tensor true_log_probs(const Batch&) const { return {}; }

  /// p(next token | the row so far) of that process, after each of the positions [first, first +
  /// count) of the row `tokens` (S) int64: (count, V) float64; an undefined tensor where the
  /// process is not known.
  virtual at::Tensor true_distribution(const at::Tensor& /*tokens*/, int64_t /*first*/,
                                       int64_t /*count*/) const {
    return {};
  }
};

}  // namespace temper
