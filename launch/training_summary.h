// What a stage of training comes to: sums over its steps, and what is said of them at its end.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "comm/teacher_report.h"
#include "student/training_step.h"

namespace temper {

struct TrainingSummary {
  double seconds = 0;
  double tokens_per_second = 0;  ///< of all tokens of the rows, as bytes_per_token
  double wait_teacher = 0;       ///< share of the students' time
  double wait_student = 0;       ///< share of the teachers' time
  double bytes_per_token = 0;
  double last_loss = 0;
  bool stopped = false;    ///< asked to stop before the last step was done, or with it
  int64_t steps = 0;       ///< that were done
  std::string checkpoint;  ///< the last one; with `stopped` that of its last step; empty: none
};

nlohmann::ordered_json to_json(const TrainingSummary& summary);
TrainingSummary training_from_json(const nlohmann::json& json);

/// For a person: that the run was stopped, by what, after which step of `training`, and where its
/// state is. `goes_on`: it was cut before, and what it had saved then is there.
std::string stop_words(const TrainingSummary& training, bool goes_on = false);

/// What the summary is made of, over the steps so far; a checkpoint holds it as well.
struct TrainingTotals {
  double seconds = 0;             ///< of the whole stage
  double step_seconds = 0;        ///< of the first student
  double checkpoint_seconds = 0;  ///< that steps waited for checkpoints
  double tokens = 0;  ///< taken through the models, whether they counted in the loss or not
  double bytes = 0;
  double wait = 0;  ///< of step_seconds, for teachers
  double teacher_seconds = 0, teacher_wait = 0;
  double last_loss = 0;  ///< of the last step that was taken

  /// `step_tokens`: TrainConfig::step_tokens().
  void add(const StepResult& result, const TeacherReport& teachers, int64_t step_tokens);
  nlohmann::ordered_json to_json() const;
  void read(const nlohmann::ordered_json& json);
  TrainingSummary summary() const;
};

}  // namespace temper
