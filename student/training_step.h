// One step of data-parallel training: forward and backward over this rank's micro-batches, one
// reduction of the gradient, one update. With soft targets it distils, without them it is plain
// training: the same code, so that a student and its baseline differ in nothing else.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "comm/collectives.h"
#include "comm/gradient_reducer.h"
#include "comm/placement.h"
#include "comm/soft_targets.h"
#include "data/corpus.h"
#include "model/kept_memory.h"
#include "model/transformer.h"
#include "student/head_loss.h"
#include "student/hidden_match.h"
#include "student/loss.h"
#include "student/optimizer.h"
#include "student/step_guard.h"
#include "student/train_config.h"
#include "student/trunk_graph.h"

namespace temper {

/// Too many steps in a row without finite numbers. Thrown by all student ranks at the same step;
/// the weights are those of the last step that was taken.
class NumericError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What a step gave, over all ranks. Losses are means per valid token, in nats.
struct StepResult {
  int64_t step = 0;
  double loss = 0;
  double kl = 0;  ///< KL(q ‖ p_T) without T²
  double ce = 0;
  double hidden = 0;     ///< of the matching of hidden states, without its weight
  double grad_norm = 0;  ///< before clipping
  double lr = 0;
  int64_t tokens = 0;         ///< valid tokens of the global batch
  double seconds = 0;         ///< of this rank
  double wait_seconds = 0;    ///< of this rank, for teachers
  double update_seconds = 0;  ///< of this rank, after its last micro-batch: reduction and update
  int64_t bytes = 0;          ///< soft targets received by all ranks
  LookaheadFill fill;         ///< of all ranks
  bool stop = false;          ///< some rank was asked to stop; the same on all ranks
  /// Of each rank: its own work up to its last micro-batch, without any waiting.
  std::vector<double> busy_seconds;

  /// Why weights, moments and their count of steps were left as they were; empty: the step was
  /// taken. The same on all ranks.
  std::string skipped;
  /// Then: the rows of the micro-batches whose loss was at fault, as Corpus::read() counts them,
  /// ascending; empty where no micro-batch was alone (the gradient overflowed).
  std::vector<int64_t> skipped_rows;
};

/// What a step leaves to the next one beside the weights, as one rank keeps it. Nothing else is:
/// rows and draws are functions of (seed, step).
struct TrainingState {
  OptimizerState optimizer;
  std::vector<std::pair<std::string, at::Tensor>> match;  ///< of HiddenMatch; empty: none
  StepGuard::State guard;                                 ///< the same on all ranks
};

class TrainingStep {
 public:
  /// `source` gives soft targets; null: hard labels alone. `seed` orders the data. All arguments
  /// are kept by reference and must outlive the object. Broadcasts the weights of rank 0. Gradients
  /// that the model does not have yet lie in memory of `collectives`, and go with it. Collective
  /// over `collectives`.
  TrainingStep(Transformer& model, const Corpus& corpus, const TrainConfig& config,
               const LossConfig& loss, at::ScalarType compute, uint64_t seed,
               Collectives& collectives, SoftTargetSource* source);

  /// Also matches hidden states, as loss.hidden says, with a teacher of this width; `source` gives
  /// these. Before the first step.
  void match_hidden(int64_t teacher_width);

  /// Runs step `step` (0-based); skips its update where StepGuard says so. Collective.
  StepResult run(int64_t step);
  StepGuard& guard() { return guard_; }

  /// Until the weights are those after the last step, on every rank: with a sharded optimizer parts
  /// of them are still on their way when run() returns. Collective.
  void settle();

  /// A copy in `memory` of this rank's part of the state: all ranks' parts are the whole, without
  /// overlap. After settle().
  TrainingState copy_state(KeptMemory& memory) const;
  /// Takes what this rank needs out of all parts, of any number of ranks, on the CPU. Throws
  /// c10::ValueError where they do not fit.
  void restore(const std::vector<TrainingState>& parts);

  /// Bytes of the optimizer's state on this rank.
  int64_t optimizer_bytes() const { return optimizer_->state_bytes(); }

  /// Called with the reduced, normalised, unclipped flat gradient (P) before the update (for
  /// checks).
  std::function<void(int64_t step, const at::Tensor& gradient)> on_gradient;
  /// Called with each micro-batch's last hidden states (N, C) before its loss, and when the first
  /// gradients have left (for injected faults).
  std::function<void(int64_t step, const at::Tensor& hidden)> on_hidden;
  std::function<void(int64_t step)> on_reduction;

  /// Whether this rank was asked to stop; the step's sums carry it to all ranks. Empty: never.
  std::function<bool()> asked_to_stop;

  /// Waits for the GPU before it takes a time, so that each part of a step has its own. For
  /// measurements: otherwise the host runs ahead of the GPU.
  bool exact_times = false;

 private:
  /// A step without its update: losses of this rank's rows, gradients that are under way.
  LossSums forward_and_backward(int64_t step);
  Batch read(int64_t step, const RowRange& rows, Transformer::Cast& cast);
  SoftTargets soft_targets(const MicroBatchId& id, const at::Tensor& tokens);
  /// The recorded layers, if these tokens can go through them.
  TrunkGraph* trunk_for(const at::Tensor& tokens, Transformer::Cast& cast);
  std::vector<double> squared_norms() const;
  std::vector<int64_t> rows_at_fault(int64_t step);
  void gather_weights();
  void need_weights(int64_t end);
  void wait_for_gpu() const;

  bool sharded() const { return config_.shard_optimizer && collectives_.size() > 1; }

  Transformer& model_;
  const Corpus& corpus_;
  TrainConfig config_;
  LossConfig loss_;
  at::ScalarType compute_;
  uint64_t seed_;
  Collectives& collectives_;
  SoftTargetSource* source_;
  std::unique_ptr<GradientReducer> reducer_;
  /// The shards of all ranks in all buckets, in one order on every rank: the gradient's norm is
  /// summed by them, and the weights are updated by them, so that a sharded optimizer gives the
  /// bits of one that is not.
  std::vector<Shard> segments_;
  std::vector<bool> own_;  // of each segment: this rank updates it
  std::unique_ptr<Optimizer> optimizer_;
  /// Weights that are on their way, those in front first.
  struct Gathering {
    Shard part;
    int64_t ticket = 0;
  };
  std::deque<Gathering> gathering_;
  std::unique_ptr<TrunkGraph> trunk_;
  bool asked_for_trunk_ = false;
  HeadLossWorkspace head_workspace_;
  std::optional<HiddenMatch> match_;
  StepGuard guard_;
  struct MicroLoss {
    RowRange rows;  // of the global batch
    double loss = 0;
    int64_t tokens = 0;
  };
  std::vector<MicroLoss> micro_losses_;  // of this rank's step
  at::Tensor teacher_head_;              // (V, C) on the student's GPU, where it came to the CPU
};

}  // namespace temper
