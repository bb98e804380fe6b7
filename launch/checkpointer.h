// Saves a stage of training while it goes on: every rank copies its part in memory and a thread of
// its own writes it, at a low priority and without MPI. That all parts are on the disk is agreed
// after a later step; then the first rank publishes the checkpoint.
#pragma once

#include <exception>
#include <future>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "data/tokenizer_files.h"
#include "launch/checkpoint_folder.h"
#include "launch/checkpoint_manifest.h"
#include "launch/faults.h"
#include "model/kept_memory.h"
#include "model/transformer.h"
#include "student/training_step.h"

namespace temper {

/// A checkpoint could not be written; the earlier ones are intact. Thrown by all student ranks
/// after the same step.
class CheckpointError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct CheckpointPlan {
  std::string dir;   ///< of the stage's checkpoints
  int64_t keep = 0;  ///< how many stay, the best apart; 0: all
  std::vector<TokenizerFile> tokenizer;
  CheckpointManifest run;          ///< what is the same in each
  const Faults* faults = nullptr;  ///< of this rank, for tests; must outlive the saves
};

/// Every method is collective over the ranks that train, and is called between two steps.
class Checkpointer {
 public:
  /// `step` and `model` are kept by reference. `last_step`: that of the checkpoint that the run
  /// goes on from, or 0.
  Checkpointer(CheckpointPlan plan, TrainingStep& step, const Transformer& model,
               const Communicator& ranks, int64_t last_step);
  /// Waits for this rank's thread. What was not published is removed when the job is started again.
  ~Checkpointer() = default;
  Checkpointer(const Checkpointer&) = delete;

  /// Begins a checkpoint after `done` steps: returns when the state is copied, having waited for
  /// the save before it. `totals` and `nll` go into the manifest. Throws CheckpointError.
  void save(int64_t done, const nlohmann::ordered_json& totals, std::optional<double> nll = {});

  /// After each step: moves a save on that is under way. Waits for no disk. Throws CheckpointError.
  void progress();

  /// Until the last save is published. Throws CheckpointError.
  void finish();

  /// Save now, and return when it is published: for whoever is about to leave. Not repeated where
  /// this step is saved already. Throws CheckpointError.
  void save_and_wait(int64_t done, const nlohmann::ordered_json& totals,
                     std::optional<double> nll = {});

  /// The folder of the newest one that is published; empty: none.
  std::string newest() const;

 private:
  enum class Phase { kIdle, kWriting, kPublishing };
  CheckpointPart copy_part();
  void take_own();
  void advance();
  [[noreturn]] void fail();

  CheckpointPlan plan_;
  TrainingStep& step_;
  const Transformer& model_;
  Communicator ranks_;
  int64_t published_;  // the step of the newest one, 0: none
  Phase phase_ = Phase::kIdle;
  CheckpointManifest manifest_;          // of the save under way
  std::map<std::string, FileSum> sums_;  // of this rank's files
  std::string error_;                    // of this rank; empty: none
  KeptMemory memory_;                    // of what is written
  // Last, so that it is waited for first.
  std::future<std::map<std::string, FileSum>> under_way_;
};

}  // namespace temper
