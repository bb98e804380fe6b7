#include "launch/training.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/stop_request.h"
#include "launch/tensorboard.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"

namespace temper {

namespace {

/// What of the loss changes over the steps, as it was at this one.
void add_changing(const LossConfig& loss, int64_t step, int64_t steps,
                  nlohmann::ordered_json& line) {
  const auto add = [&](const char* name, const std::optional<Schedule>& schedule) {
    if (schedule && schedule->changes()) line[name] = schedule->value(step, steps);
  };
  add("temperature", loss.temperature_schedule);
  add("alpha", loss.alpha_schedule);
  add("beta", loss.beta_schedule);
}

// What a line of metrics.jsonl has, but for the step, which is an event's own.
Scalars scalars_of(const nlohmann::ordered_json& line) {
  Scalars scalars;
  for (const auto& [name, value] : line.items()) {
    if (name != "step" && value.is_number()) scalars.emplace_back("train/" + name, value);
  }
  return scalars;
}

}  // namespace

std::string checkpoint_folder(const std::string& dir, int64_t steps) {
  return format("%s/step-%08lld", dir.c_str(), static_cast<long long>(steps));
}

std::string stop_words(const TrainingSummary& training) {
  const std::string signal = stop_signal();
  std::string words = "stopped by " + (signal.empty() ? "a signal" : signal);
  if (training.steps == 0) return words + " before the first step: nothing to save";
  words += " after step " + std::to_string(training.steps);
  if (!training.checkpoint.empty()) words += ", saved in " + training.checkpoint;
  return words;
}

TrainingSummary run_training(Transformer& model, const TrainingStage& stage,
                             Collectives& collectives) {
  const bool logs = collectives.rank() == 0;
  const std::string known = collectives.note();
  TrainingStep step(model, *stage.corpus, stage.train, stage.loss, stage.compute, stage.seed,
                    collectives, stage.source);
  if (stage.match_width > 0) step.match_hidden(stage.match_width);
  bool teacher_stops = false;  // known on rank 0
  step.asked_to_stop = [&] { return teacher_stops || asked_to_stop(); };
  if (logs && collectives.note() != known) say("note    " + collectives.note());
  if (logs && !stage.gradient_path.empty()) {
    step.on_gradient = [&](int64_t number, const at::Tensor& gradient) {
      if (number != 0) return;
      std::vector<std::pair<std::string, at::Tensor>> named;
      for (const Parameter& parameter : model.parameters()) {
        named.emplace_back(parameter.name,
                           gradient.narrow(0, parameter.offset, parameter.value.numel())
                               .view(parameter.value.sizes())
                               .cpu());
      }
      write_safetensors(stage.gradient_path, named);
    };
  }
  MetricsFile metrics =
      logs && !stage.metrics_path.empty() ? MetricsFile(stage.metrics_path) : MetricsFile();
  TensorboardFile events = logs && !stage.tensorboard_dir.empty()
                               ? TensorboardFile(stage.tensorboard_dir, "1.training")
                               : TensorboardFile();
  std::optional<Progress> progress;
  if (logs) progress.emplace(stage.title, stage.train.steps);

  // The state after `done` steps, complete on the disk when this returns. Collective.
  const auto save_now = [&](int64_t done) {
    const std::string dir = checkpoint_folder(stage.checkpoint_dir, done);
    if (logs) save_model(model, dir, std::nullopt, stage.tokenizer);
    return dir;
  };

  const auto start = std::chrono::steady_clock::now();
  TrainingSummary summary;
  double seconds = 0, tokens = 0, bytes = 0, wait = 0, teacher_seconds = 0, teacher_wait = 0;
  int64_t steps = stage.train.steps;
  for (int64_t number = 0; number < steps; ++number) {
    const StepResult result = step.run(number);
    if (result.stop && !summary.stopped) {
      summary.stopped = true;
      steps = 1 + (stage.stop_after ? stage.stop_after(number) : number);
      if (logs && steps > number + 1)
        say(format("note    asked to stop: going on to step %lld, which teachers have begun",
                   static_cast<long long>(steps)));
    }
    const bool last = number + 1 == steps;
    const int64_t every = stage.train.checkpoint_every;
    const bool due = every > 0 && ((number + 1) % every == 0 || last);
    const bool saves = !stage.checkpoint_dir.empty() && (due || (last && summary.stopped));
    if (saves || last) step.settle();
    if (logs) {
      const TeacherReport teachers =
          stage.teacher_reports ? stage.teacher_reports() : TeacherReport{};
      teacher_stops = teacher_stops || teachers.stop;
      const double step_tokens = static_cast<double>(std::max<int64_t>(1, result.tokens));
      const double wait_teacher = result.wait_seconds / result.seconds;
      const double wait_student =
          teachers.seconds > 0 ? teachers.wait_seconds / teachers.seconds : 0;
      seconds += result.seconds;
      tokens += static_cast<double>(result.tokens);
      bytes += static_cast<double>(result.bytes);
      wait += result.wait_seconds;
      teacher_seconds += teachers.seconds;
      teacher_wait += teachers.wait_seconds;
      nlohmann::ordered_json line;
      line["step"] = result.step;
      line["loss"] = result.loss;
      line["kl"] = result.kl;
      line["ce"] = result.ce;
      if (stage.match_width > 0) line["hidden"] = result.hidden;
      if (stage.train.free_running.on_policy > 0)
        line["on_policy"] = stage.train.free_running.writes(number, stage.seed);
      line["grad_norm"] = result.grad_norm;
      line["lr"] = result.lr;
      if (stage.source != nullptr) add_changing(stage.loss, number, stage.train.steps, line);
      line["tokens"] = result.tokens;
      line["tokens_per_s"] = step_tokens / result.seconds;
      line["step_seconds"] = result.seconds;
      line["wait_teacher"] = wait_teacher;
      line["wait_student"] = wait_student;
      line["bytes_per_token"] = static_cast<double>(result.bytes) / step_tokens;
      std::string ahead;
      if (result.fill.granted > 0) {
        const double fill = result.fill.arrived / result.fill.granted;
        line["lookahead_fill"] = fill;
        ahead = format(", ahead %.1f/%lld", fill * static_cast<double>(stage.lookahead),
                       static_cast<long long>(stage.lookahead));
      }
      metrics.write(line);
      events.write(result.step, scalars_of(line));
      const std::string parts = stage.source != nullptr
                                    ? format(" (kl %.4f, ce %.4f)", result.kl, result.ce)
                                    : std::string();
      const std::string waits = stage.teacher_reports
                                    ? format("  waited for teacher %2.0f%%, for student %2.0f%%",
                                             100 * wait_teacher, 100 * wait_student) +
                                          ahead
                                    : std::string();
      progress->show(number + 1,
                     format("loss %.4f%s  grad %.3f  lr %.2e  %s tok/s%s", result.loss,
                            parts.c_str(), result.grad_norm, result.lr,
                            count_text(step_tokens / result.seconds).c_str(), waits.c_str()),
                     last || number == 0 || (number + 1) % stage.train.log_every == 0);
    }
    if (saves) summary.checkpoint = save_now(number + 1);
    summary.last_loss = result.loss;
    summary.steps = number + 1;
  }
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  summary.tokens_per_second = tokens / std::max(1e-9, summary.seconds);
  summary.wait_teacher = wait / std::max(1e-9, seconds);
  summary.wait_student = teacher_seconds > 0 ? teacher_wait / teacher_seconds : 0;
  summary.bytes_per_token = bytes / std::max(1.0, tokens);
  return summary;
}

}  // namespace temper
