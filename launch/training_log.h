// What a stage of training says while it runs: metrics.jsonl, TensorBoard's events, the screen.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/stragglers.h"
#include "launch/tensorboard.h"
#include "launch/training_stage.h"

namespace temper {

/// The rows of a skipped step that were at fault, for a person.
std::string rows_text(const std::vector<int64_t>& rows);

/// Lives on the first student's rank.
class TrainingLog {
 public:
  /// `stage` must outlive the log. What the files hold of steps from stage.from on is removed.
  explicit TrainingLog(const TrainingStage& stage);

  /// A step's line. `skipped_in_a_row`: up to this one; `shown`: on the screen in any case.
  void add(const StepResult& result, const TeacherReport& teachers, int64_t skipped_in_a_row,
           bool shown);

 private:
  const TrainingStage& stage_;
  MetricsFile metrics_;
  TensorboardFile events_;
  Progress progress_;
  Stragglers students_, teachers_;
};

}  // namespace temper
