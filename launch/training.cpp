#include "launch/training.h"

#include <ATen/ATen.h>

#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>

#include "comm/activity.h"
#include "launch/checkpoint_state.h"
#include "launch/checkpointer.h"
#include "launch/progress.h"
#include "launch/run_folder.h"
#include "launch/stop_request.h"
#include "launch/stragglers.h"
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
  double seconds = 0;       // of the whole stage
  double step_seconds = 0;  // of the first student
  double tokens = 0, bytes = 0, wait = 0, teacher_seconds = 0, teacher_wait = 0, last_loss = 0;

  std::vector<std::pair<const char*, double*>> fields() {
    return {{"seconds", &seconds},
            {"step_seconds", &step_seconds},
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

CheckpointPlan checkpoint_plan(const TrainingStage& stage) {
  CheckpointPlan plan;
  plan.dir = stage.checkpoint_dir;
  plan.keep = stage.train.checkpoint_keep;
  plan.tokenizer = stage.tokenizer;
  plan.run = stage.run;
  plan.run.sharded = stage.train.shard_optimizer;
  return plan;
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

std::string stop_words(const TrainingSummary& training) {
  const std::string signal = stop_signal();
  std::string words = "stopped by " + (signal.empty() ? "a signal" : signal);
  if (training.steps == 0) return words + " before the first step: nothing to save";
  words += " after step " + std::to_string(training.steps);
  if (!training.checkpoint.empty()) words += ", saved in " + training.checkpoint;
  return words;
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
  const InPhase training(Phase::kTraining);
  if (stage.faults != nullptr) {
    step.on_hidden = [&](int64_t number, const at::Tensor& hidden) {
      stage.faults->in_forward(number, hidden);
    };
    step.on_reduction = [&](int64_t number) { stage.faults->in_comm(number); };
  }
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
  Stragglers students(stage.rank_names), slow_teachers(stage.teacher_names);

  const auto start = std::chrono::steady_clock::now();
  const double seconds_before = totals.seconds;
  const auto count_seconds = [&] {
    const auto now = std::chrono::steady_clock::now();
    totals.seconds = seconds_before + std::chrono::duration<double>(now - start).count();
  };
  int64_t steps = stage.train.steps;
  bool stopped = false;
  for (int64_t number = first_step; number < steps; ++number) {
    activity().step = number;
    const StepResult result = step.run(number);
    if (result.stop && !stopped) {
      stopped = true;
      steps = 1 + (stage.stop_after ? stage.stop_after(number) : number);
      if (logs && steps > number + 1)
        say(format("note    asked to stop: going on to step %lld, which teachers have begun",
                   static_cast<long long>(steps)));
    }
    const bool last = number + 1 == steps;
    const int64_t every = stage.train.checkpoint_every;
    const bool saves = checkpoints && ((every > 0 && ((number + 1) % every == 0 || last)) ||
                                       (last && (stopped || stage.saves_end)));
    if (saves || last) step.settle();
    if (checkpoints) checkpoints->progress();
    if (saves && stage.faults != nullptr) {
      const InPhase saving(Phase::kSaving);
      stage.faults->in_save(number);
    }
    if (logs) {
      const TeacherReport teachers =
          stage.teacher_reports ? stage.teacher_reports() : TeacherReport{};
      teacher_stops = teacher_stops || teachers.stop;
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
    }
    if (result.skipped.empty()) totals.last_loss = result.loss;
    if (step.guard().exhausted()) {
      step.settle();
      count_seconds();
      if (checkpoints) checkpoints->save_and_wait(number + 1, totals.to_json());
      throw NumericError(format(
          "step %lld: %lld steps in a row were skipped (--train.skip-limit): %s; %s. The weights "
          "are "
          "those after step %lld. A lower --train.lr or a longer --train.warmup often helps; else "
          "look at these sequences",
          static_cast<long long>(number), static_cast<long long>(step.guard().in_a_row()),
          result.skipped.c_str(), rows_text(result.skipped_rows).c_str(),
          static_cast<long long>(number - step.guard().in_a_row())));
    }
    if (!saves) continue;
    const InPhase saving(Phase::kSaving);
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
      checkpoints->save(number + 1, totals.to_json(), nll);
    }
  }
  activity().step = -1;
  if (checkpoints) checkpoints->finish();
  count_seconds();
  TrainingSummary summary = totals.summary();
  summary.stopped = stopped;
  summary.steps = steps;
  if (checkpoints) summary.checkpoint = checkpoints->newest();
  return summary;
}

}  // namespace temper
