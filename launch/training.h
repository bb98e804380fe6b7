// One stage of training from first to last step, with its log: a teacher on hard labels, a student
// on soft targets, a student on hard labels alone.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "comm/collectives.h"
#include "comm/teacher_report.h"
#include "data/corpus.h"
#include "data/tokenizer_files.h"
#include "launch/faults.h"
#include "launch/resumption.h"
#include "model/transformer.h"
#include "student/evaluation_config.h"
#include "student/training_step.h"

namespace temper {

struct TrainingStage {
  std::string title;  ///< in front of each line on the screen
  TrainConfig train;
  LossConfig loss;
  at::ScalarType compute = at::kFloat;
  uint64_t seed = 1;  ///< of the data's order
  const Corpus* corpus = nullptr;
  SoftTargetSource* source = nullptr;    ///< null: hard labels
  std::string metrics_path;              ///< written by rank 0; empty: none
  std::string tensorboard_dir;           ///< the same as event files, by rank 0; empty: none
  std::string checkpoint_dir;            ///< checkpoints go to DIR/step-N
  CheckpointManifest run;                ///< what all of them say of the run
  ResumePoint from;                      ///< where the stage begins
  bool saves_end = false;                ///< the last step's state, whatever train.checkpoint-every
  EvaluationConfig evaluation;           ///< for train.checkpoint-best
  std::vector<TokenizerFile> tokenizer;  ///< go into each checkpoint
  std::string gradient_path;  ///< the first step's gradient goes there as safetensors (for checks);
                              ///< empty: no
  int64_t match_width = 0;    ///< of the teacher's hidden states where they are matched, else 0
  int64_t lookahead = 0;      ///< of the stream of soft targets, for the log
  std::vector<std::string> rank_names;     ///< of `collectives`, for the log; empty: none is named
  std::vector<std::string> teacher_names;  ///< of the teachers that report
  Faults* faults = nullptr;                ///< for tests; null: none
  std::function<TeacherReport()>
      teacher_reports;  ///< called on rank 0 once a step; empty: colocated or hard labels
  /// Called on all ranks where they agree after `step` to stop: the last step that must be run
  /// since teachers have begun it. Empty: `step` itself.
  std::function<int64_t(int64_t step)> stop_after;
};

struct TrainingSummary {
  double seconds = 0;
  double tokens_per_second = 0;
  double wait_teacher = 0;  ///< share of the students' time
  double wait_student = 0;  ///< share of the teachers' time
  double bytes_per_token = 0;
  double last_loss = 0;
  bool stopped = false;    ///< asked to stop before the last step was done, or with it
  int64_t steps = 0;       ///< that were done
  std::string checkpoint;  ///< the last one; with `stopped` that of its last step; empty: none
};

nlohmann::ordered_json to_json(const TrainingSummary& summary);
TrainingSummary training_from_json(const nlohmann::json& json);

/// For a person: that the run was stopped, by what, after which step of `training`, and where its
/// state is.
std::string stop_words(const TrainingSummary& training);

/// Trains `model` in place, from the stage's checkpoint on if it has one, to the last step or until
/// a rank is asked to stop. Collective over `collectives` and `ranks`, which are the same ranks;
/// rank 0 logs. Steps without finite numbers are skipped and logged; too many in a row
/// (train.skip-limit) are a NumericError on all ranks, after a checkpoint.
TrainingSummary run_training(Transformer& model, const TrainingStage& stage,
                             Collectives& collectives, const Communicator& ranks);

}  // namespace temper
