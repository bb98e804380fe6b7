#include "launch/training.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "launch/checkpoint_state.h"
#include "launch/checkpointer.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/tensorboard.h"
#include "model/safetensors.h"
#include "student/evaluation.h"

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

/// What the summary is made of: sums over the steps so far, in a checkpoint as well.
struct Totals {
  double seconds = 0;             // of the whole stage
  double step_seconds = 0;        // of the first student
  double checkpoint_seconds = 0;  // that steps waited for checkpoints
  double tokens = 0, bytes = 0, wait = 0, teacher_seconds = 0, teacher_wait = 0, last_loss = 0;

  std::vector<std::pair<const char*, double*>> fields() {
    return {{"seconds", &seconds},
            {"step_seconds", &step_seconds},
            {"checkpoint_seconds", &checkpoint_seconds},
            {"tokens", &tokens},
            {"bytes", &bytes},
            {"wait_teacher_seconds", &wait},
            {"teacher_seconds", &teacher_seconds},
            {"wait_student_seconds", &teacher_wait},
            {"last_loss", &last_loss}};
  }
  nlohmann::ordered_json to_json() {
    nlohmann::ordered_json json;
    for (const auto& [name, value] : fields()) json[name] = *value;
    return json;
  }
  void read(const nlohmann::ordered_json& json) {
    for (const auto& [name, value] : fields()) *value = json.value(name, 0.0);
  }
  TrainingSummary summary() const {
    TrainingSummary summary;
    summary.seconds = seconds;
    summary.tokens_per_second = tokens / std::max(1e-9, seconds);
    summary.wait_teacher = wait / std::max(1e-9, step_seconds);
    summary.wait_student = teacher_seconds > 0 ? teacher_wait / teacher_seconds : 0;
    summary.bytes_per_token = bytes / std::max(1.0, tokens);
    summary.last_loss = last_loss;
    return summary;
  }
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

CheckpointPlan checkpoint_plan(const TrainingStage& stage) {
  CheckpointPlan plan;
  plan.dir = stage.checkpoint_dir;
  plan.keep = stage.train.checkpoint_keep;
  plan.tokenizer = stage.tokenizer;
  plan.run = stage.run;
  plan.run.sharded = stage.train.shard_optimizer;
  return plan;
}

}  // namespace

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

TrainingSummary run_training(Transformer& model, const TrainingStage& stage,
                             Collectives& collectives, const Communicator& ranks) {
  const int64_t first_step = stage.from.step();
  // The weights go from the first rank to the others.
  if (first_step > 0 && collectives.rank() == 0)
    read_weights(stage.from.dir, stage.from.manifest, model);
  const bool logs = collectives.rank() == 0;
  const std::string known = collectives.note();
  TrainingStep step(model, *stage.corpus, stage.train, stage.loss, stage.compute, stage.seed,
                    collectives, stage.source);
  if (stage.match_width > 0) step.match_hidden(stage.match_width);
  Totals totals;
  if (first_step > 0) {
    step.restore(read_states(stage.from.dir, stage.from.manifest));
    totals.read(stage.from.manifest.totals);
  }
  std::optional<Checkpointer> checkpoints;
  if (!stage.checkpoint_dir.empty())
    checkpoints.emplace(checkpoint_plan(stage), step, model, ranks, first_step);
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
  MetricsFile metrics = logs && !stage.metrics_path.empty()
                            ? MetricsFile(stage.metrics_path, first_step)
                            : MetricsFile();
  TensorboardFile events = logs && !stage.tensorboard_dir.empty()
                               ? TensorboardFile(stage.tensorboard_dir, "1.training")
                               : TensorboardFile();
  if (logs && !stage.tensorboard_dir.empty()) {
    for (const auto& line : read_metrics_before(stage.metrics_path, first_step))
      events.write(line["step"], scalars_of(line));
  }
  std::optional<Progress> progress;
  if (logs) progress.emplace(stage.title, stage.train.steps, first_step);

  const auto start = std::chrono::steady_clock::now();
  const double seconds_before = totals.seconds;
  const auto count_seconds = [&] { totals.seconds = seconds_before + seconds_since(start); };
  for (int64_t number = first_step; number < stage.train.steps; ++number) {
    const StepResult result = step.run(number);
    const bool last = number + 1 == stage.train.steps;
    const bool saves = checkpoints && stage.train.checkpoint_every > 0 &&
                       ((number + 1) % stage.train.checkpoint_every == 0 || last);
    if (saves || last) step.settle();
    if (checkpoints) {
      const auto before = std::chrono::steady_clock::now();
      checkpoints->progress();
      totals.checkpoint_seconds += seconds_since(before);
    }
    if (logs) {
      const TeacherReport teachers =
          stage.teacher_reports ? stage.teacher_reports() : TeacherReport{};
      const double step_tokens = static_cast<double>(std::max<int64_t>(1, result.tokens));
      const double wait_teacher = result.wait_seconds / result.seconds;
      const double wait_student =
          teachers.seconds > 0 ? teachers.wait_seconds / teachers.seconds : 0;
      totals.step_seconds += result.seconds;
      totals.tokens += static_cast<double>(result.tokens);
      totals.bytes += static_cast<double>(result.bytes);
      totals.wait += result.wait_seconds;
      totals.teacher_seconds += teachers.seconds;
      totals.teacher_wait += teachers.wait_seconds;
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
    totals.last_loss = result.loss;
    if (!saves) continue;
    std::optional<double> nll;
    if (stage.train.checkpoint_best)
      nll = evaluate(model,
                     {stage.corpus, Part::kFit, stage.train.seq, stage.evaluation.max_tokens,
                      stage.evaluation.micro_batch},
                     stage.compute, ranks, {1.0})[0]
                .nll;
    count_seconds();
    if (last) {
      checkpoints->save_and_wait(number + 1, totals.to_json(), nll);
    } else {
      const auto before = std::chrono::steady_clock::now();
      checkpoints->save(number + 1, totals.to_json(), nll);
      totals.checkpoint_seconds += seconds_since(before);
    }
  }
  if (checkpoints) checkpoints->finish();
  count_seconds();
  return totals.summary();
}

}  // namespace temper
