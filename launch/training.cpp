#include "launch/training.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/activity.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/stragglers.h"
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

/// The rows that were at fault, for a person.
std::string rows_text(const std::vector<int64_t>& rows) {
  if (rows.empty()) return "no sequence alone is at fault (the gradient overflowed)";
  constexpr size_t kMost = 16;
  std::string text = rows.size() == 1 ? "sequence" : "sequences";
  for (size_t i = 0; i < std::min(rows.size(), kMost); ++i)
    text += (i == 0 ? " " : ", ") + std::to_string(rows[i]);
  if (rows.size() > kMost) text += " and " + std::to_string(rows.size() - kMost) + " more";
  return text;
}

/// The lines about a skipped step.
void log_skip(const StepResult& result, int64_t in_a_row, int64_t limit,
              nlohmann::ordered_json& line) {
  line["skipped"] = true;
  line["reason"] = result.skipped;
  line["sequences"] = result.skipped_rows;
  say(
      format("skipped step %lld: %s; %s; weights and moments stay as they were (%lld in a row, "
             "--train.skip-limit %lld)",
             static_cast<long long>(result.step), result.skipped.c_str(),
             rows_text(result.skipped_rows).c_str(), static_cast<long long>(in_a_row),
             static_cast<long long>(limit)));
}

/// Seconds of each rank's own work for one of its sequences.
std::vector<double> per_sequence(const StepResult& result, int64_t batch) {
  std::vector<double> seconds = result.busy_seconds;
  const int ranks = static_cast<int>(seconds.size());
  for (int rank = 0; rank < ranks; ++rank)
    seconds[static_cast<size_t>(rank)] /=
        static_cast<double>(std::max<int64_t>(1, share(batch, rank, ranks).size()));
  return seconds;
}

}  // namespace

TrainingSummary run_training(Transformer& model, const TrainingStage& stage,
                             Collectives& collectives) {
  const bool logs = collectives.rank() == 0;
  const std::string known = collectives.note();
  TrainingStep step(model, *stage.corpus, stage.train, stage.loss, stage.compute, stage.seed,
                    collectives, stage.source);
  if (stage.match_width > 0) step.match_hidden(stage.match_width);
  const InPhase training(Phase::kTraining);
  if (stage.faults != nullptr) {
    step.on_hidden = [&](int64_t number, const at::Tensor& hidden) {
      stage.faults->in_forward(number, hidden);
    };
    step.on_reduction = [&](int64_t number) { stage.faults->in_comm(number); };
  }
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
  Stragglers students(stage.rank_names), slow_teachers(stage.teacher_names);

  const auto start = std::chrono::steady_clock::now();
  TrainingSummary summary;
  double seconds = 0, tokens = 0, bytes = 0, wait = 0, teacher_seconds = 0, teacher_wait = 0;
  for (int64_t number = 0; number < stage.train.steps; ++number) {
    activity().step = number;
    const StepResult result = step.run(number);
    const bool last = number + 1 == stage.train.steps;
    const bool saves = !stage.checkpoint_dir.empty() && stage.train.checkpoint_every > 0 &&
                       ((number + 1) % stage.train.checkpoint_every == 0 || last);
    if (saves || last) step.settle();
    if (saves && stage.faults != nullptr) {
      const InPhase saving(Phase::kSaving);
      stage.faults->in_save(number);
    }
    if (logs) {
      const TeacherReport teachers =
          stage.teacher_reports ? stage.teacher_reports() : TeacherReport{};
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
      if (!result.skipped.empty())
        log_skip(result, step.guard().in_a_row(), stage.train.skip_limit, line);
      for (const auto& slow : {students.add(per_sequence(result, stage.train.batch)),
                               slow_teachers.add(teachers.busy_seconds)}) {
        if (slow) say("note    " + *slow);
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
      if (saves) {
        const InPhase saving(Phase::kSaving);
        save_model(model,
                   format("%s/step-%08lld", stage.checkpoint_dir.c_str(),
                          static_cast<long long>(number + 1)),
                   std::nullopt, stage.tokenizer);
      }
    }
    if (step.guard().exhausted()) {
      step.settle();
      if (stage.on_trouble) stage.on_trouble(number + 1);
      throw NumericError(format(
          "step %lld: %lld steps in a row were skipped (--train.skip-limit): %s; %s. The weights "
          "are "
          "those after step %lld. A lower --train.lr or a longer --train.warmup often helps; else "
          "look at these sequences",
          static_cast<long long>(number), static_cast<long long>(step.guard().in_a_row()),
          result.skipped.c_str(), rows_text(result.skipped_rows).c_str(),
          static_cast<long long>(number - step.guard().in_a_row())));
    }
    if (result.skipped.empty()) summary.last_loss = result.loss;
  }
  activity().step = -1;
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  summary.tokens_per_second = tokens / std::max(1e-9, summary.seconds);
  summary.wait_teacher = wait / std::max(1e-9, seconds);
  summary.wait_student = teacher_seconds > 0 ? teacher_wait / teacher_seconds : 0;
  summary.bytes_per_token = bytes / std::max(1.0, tokens);
  return summary;
}

}  // namespace temper
