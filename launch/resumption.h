// How a run goes on where it was cut: which of its stages are finished, with their results, and the
// checkpoint from which the next one continues.
//
//   RUN/stages/NAME.json            the result of a finished stage, and what it is a result of
//   RUN/checkpoints/step-N          of the run's own model
//   RUN/checkpoints/NAME/step-N     of another stage (a teacher that is trained first, hard labels,
//                                   further seeds), until it is finished
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "launch/checkpoint_manifest.h"

namespace temper {

/// Where a stage begins.
struct ResumePoint {
  std::string dir;  ///< the checkpoint; empty: the stage's beginning
  CheckpointManifest manifest;

  int64_t step() const { return dir.empty() ? 0 : manifest.step; }
};

/// `run.resume` as a checkpoint: the run folder that it belongs to. Throws c10::ValueError where it
/// is none.
std::string run_of_checkpoint(const std::string& path);

class Resumption {
 public:
  /// `resume`: run.resume; `ini`: the resolved configuration. Without resuming, what an earlier run
  /// left in `run_dir` is removed and config.ini written, otherwise what a killed one left half
  /// done is removed. `main_stage`: the one whose checkpoints lie in RUN/checkpoints. Collective.
  Resumption(std::string resume, std::string run_dir, std::string main_stage, std::string ini,
             const Communicator& world);

  /// The result of the stage that `expected` describes, if it is finished. The same on every rank.
  /// Throws AgreedError where it is a result of something else, with both values. Collective.
  std::optional<nlohmann::json> result(const StageIdentity& expected) const;
  /// Records that the stage `of` is finished; its checkpoints go, unless it is the main one. World
  /// rank 0 calls it when whatever the result refers to is on the disk. Throws c10::Error naming
  /// path and reason.
  void finish(const StageIdentity& of, const nlohmann::ordered_json& result) const;
  /// Results or checkpoints were there already. The same on every rank; not collective.
  bool goes_on() const { return goes_on_; }

  /// The folder of a stage's checkpoints.
  std::string checkpoints(const std::string& stage) const;

  /// Where the stage begins: at the newest checkpoint that verifies, all ranks reading, or at the
  /// one that run.resume names. `expected`: what this run's stage is of. Says what it
  /// found, and which file was damaged where it had to take an earlier checkpoint. What came after
  /// a named one, results and checkpoints of later steps, is removed as soon as that one is taken.
  /// Throws AgreedError where none verifies, or one is of something else. Collective.
  ResumePoint point(const StageIdentity& expected) const;

  /// What a stage of this run is of, but for teacher and first weights.
  StageIdentity identity(const std::string& stage, uint64_t seed, uint64_t data) const;

 private:
  std::string stage_file(const std::string& stage) const;
  void take(const ResumePoint& point, bool named) const;

  std::string resume_, run_dir_, main_stage_, ini_;
  const Communicator& world_;
  nlohmann::json results_;          // the files of finished stages, by stage
  std::vector<std::string> later_;  // stages that were finished after a named checkpoint; on rank 0
  bool goes_on_ = false;
};

}  // namespace temper
