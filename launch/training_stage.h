// What a stage of training is made of: a teacher on hard labels, a student on soft targets, a
// student on hard labels alone.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "comm/teacher_report.h"
#include "data/corpus.h"
#include "data/tokenizer_files.h"
#include "launch/faults.h"
#include "launch/resumption.h"
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

}  // namespace temper
