// Runs a model over a held-out part of a corpus, the rows shared out over the ranks of a
// communicator.
#pragma once

#include <functional>
#include <optional>
#include <stdexcept>
#include <vector>

#include "comm/mpi/communicator.h"
#include "data/corpus.h"
#include "model/transformer.h"
#include "student/calibration.h"
#include "student/metrics.h"
#include "student/nll_curve.h"

namespace temper {

/// A held-out part, as it is used.
struct HeldOut {
  const Corpus* corpus = nullptr;
  Part part = Part::kTest;
  int64_t seq = 128;
  int64_t max_tokens = 131072;  ///< no more than this, from the part's beginning
  int64_t micro_batch = 8;      ///< rows per forward pass
  /// Whether this rank was asked to stop; empty: never. Passes then end early.
  std::function<bool()> asked_to_stop = {};

  /// Rows that are used. Throws c10::ValueError where the part has none.
  int64_t rows() const;
};

/// A pass was not finished since a rank was asked to stop. Thrown by all ranks together.
class EvaluationStopped : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// After a pass of for_each_logits(): a rank that was asked to stop left it early, and all ranks
/// learn of it here. Throws EvaluationStopped. Collective.
void agree_to_go_on(const HeldOut& data, const Communicator& comm);

/// Some valid tokens of one micro-batch.
struct LogitsChunk {
  at::Tensor logits;      ///< (n, V) float32
  at::Tensor labels;      ///< (n) int64
  at::Tensor sequences;   ///< (n) int64 on the CPU: row of the part, rising
  at::Tensor positions;   ///< (n) int64 on the CPU: position within the row
  at::Tensor tokens;      ///< (B, S) int64 on the CPU: the micro-batch
  int64_t first_row = 0;  ///< of the micro-batch
};

/// Calls `use` with the logits of all valid tokens of this rank's rows, a chunk of tokens at a
/// time: the (N, V) matrix never exists. Ends early where this rank is asked to stop: whoever uses
/// what it saw asks agree_to_go_on() first. Not collective.
void for_each_logits(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                     const Communicator& comm,
                     const std::function<void(const LogitsChunk& chunk)>& use);

/// Metrics at each temperature, in one pass; where the corpus knows its own distribution, the exact
/// ones too. `curve`, where there is one, sees the same logits, and its finish() is left to the
/// caller. Throws EvaluationStopped. Collective.
std::vector<Metrics> evaluate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                              const Communicator& comm, const std::vector<double>& temperatures,
                              NllCurve* curve = nullptr);

/// How near a student's distribution is to its teacher's.
struct Agreement {
  double kl = 0;       ///< mean KL(q ‖ p) at T = 1, nats per token
  double arg_max = 0;  ///< share of tokens where both find the same id most likely
  int64_t tokens = 0;
};

/// Compares both models' distributions over the corpus's ids (rows beyond them, padding, do not
/// count), in one pass. Throws EvaluationStopped. Collective.
Agreement compare_with_teacher(const Transformer& student, const Transformer& teacher,
                               const HeldOut& data, at::ScalarType compute,
                               const Communicator& comm);

/// Fits the temperature; passes are forward passes, nothing is stored. Throws EvaluationStopped.
/// Collective.
CalibrationFit calibrate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                         const Communicator& comm);

/// What the process that wrote the corpus would reach on the same tokens: its mean −log p(label),
/// nats. No model can expect to be below. Nothing where it is not known. Collective.
std::optional<double> floor_nll(const HeldOut& data, const Communicator& comm);

}  // namespace temper
