#include "launch/training_summary.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "launch/stop_request.h"

namespace temper {

namespace {

constexpr std::pair<const char*, double TrainingTotals::*> kFields[] = {
    {"seconds", &TrainingTotals::seconds},
    {"step_seconds", &TrainingTotals::step_seconds},
    {"checkpoint_seconds", &TrainingTotals::checkpoint_seconds},
    {"tokens", &TrainingTotals::tokens},
    {"bytes", &TrainingTotals::bytes},
    {"wait_teacher_seconds", &TrainingTotals::wait},
    {"teacher_seconds", &TrainingTotals::teacher_seconds},
    {"wait_student_seconds", &TrainingTotals::teacher_wait},
    {"last_loss", &TrainingTotals::last_loss}};

}  // namespace

void TrainingTotals::add(const StepResult& result, const TeacherReport& teachers,
                         int64_t step_tokens) {
  step_seconds += result.seconds;
  tokens += static_cast<double>(step_tokens);
  bytes += static_cast<double>(result.bytes);
  wait += result.wait_seconds;
  teacher_seconds += teachers.seconds;
  teacher_wait += teachers.wait_seconds;
  if (result.skipped.empty()) last_loss = result.loss;
}

nlohmann::ordered_json TrainingTotals::to_json() const {
  nlohmann::ordered_json json;
  for (const auto& [name, value] : kFields) json[name] = this->*value;
  return json;
}

void TrainingTotals::read(const nlohmann::ordered_json& json) {
  for (const auto& [name, value] : kFields) this->*value = json.value(name, 0.0);
}

TrainingSummary TrainingTotals::summary() const {
  TrainingSummary summary;
  summary.seconds = seconds;
  summary.tokens_per_second = tokens / std::max(1e-9, seconds);
  summary.wait_teacher = wait / std::max(1e-9, step_seconds);
  summary.wait_student = teacher_seconds > 0 ? teacher_wait / teacher_seconds : 0;
  summary.bytes_per_token = bytes / std::max(1.0, tokens);
  summary.last_loss = last_loss;
  return summary;
}

nlohmann::ordered_json to_json(const TrainingSummary& summary) {
  return {{"seconds", summary.seconds},
          {"tokens_per_s", summary.tokens_per_second},
          {"wait_teacher", summary.wait_teacher},
          {"wait_student", summary.wait_student},
          {"bytes_per_token", summary.bytes_per_token}};
}

TrainingSummary training_from_json(const nlohmann::json& json) {
  TrainingSummary summary;
  summary.seconds = json.value("seconds", 0.0);
  summary.tokens_per_second = json.value("tokens_per_s", 0.0);
  summary.wait_teacher = json.value("wait_teacher", 0.0);
  summary.wait_student = json.value("wait_student", 0.0);
  summary.bytes_per_token = json.value("bytes_per_token", 0.0);
  return summary;
}

std::string stop_words(const TrainingSummary& training, bool goes_on) {
  const std::string signal = stop_signal();
  std::string words = "stopped by " + (signal.empty() ? "a signal" : signal);
  if (training.steps == 0) {
    return words + " before the first step: " +
           (goes_on ? "checkpoints and results are as they were" : "nothing to save");
  }
  words += " after step " + std::to_string(training.steps);
  if (!training.checkpoint.empty()) words += ", saved in " + training.checkpoint;
  return words;
}

}  // namespace temper
