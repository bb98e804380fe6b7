#include "launch/training_log.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "comm/placement.h"

namespace temper {

namespace {

/// Weight of the soft targets in the loss of this step.
double alpha_of(const TrainingStage& stage, int64_t step) {
  if (stage.source == nullptr) return 0;
  // Nobody has labelled what the student writes: alpha is 1 there, whatever the option says.
  if (stage.train.free_running.writes(step, stage.seed)) return 1;
  return stage.loss.at(step, stage.train.steps).alpha;
}

/// What of the loss changes over the steps, as this one took it.
void add_changing(const TrainingStage& stage, int64_t step, nlohmann::ordered_json& line) {
  const LossConfig now = stage.loss.at(step, stage.train.steps);
  const auto add = [&](const char* name, bool changes, double value) {
    if (changes) line[name] = value;
  };
  const auto changes = [](const std::optional<Schedule>& schedule) {
    return schedule && schedule->changes();
  };
  add("temperature", changes(now.temperature_schedule), now.temperature);
  add("alpha", changes(now.alpha_schedule) || stage.train.free_running.on_policy > 0,
      alpha_of(stage, step));
  add("beta", changes(now.beta_schedule), now.beta);
}

// What a line of metrics.jsonl has, but for the step, which is an event's own.
Scalars scalars_of(const nlohmann::ordered_json& line) {
  Scalars scalars;
  for (const auto& [name, value] : line.items()) {
    if (name != "step" && value.is_number()) scalars.emplace_back("train/" + name, value);
  }
  return scalars;
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

TrainingLog::TrainingLog(const TrainingStage& stage)
    : stage_(stage),
      metrics_(stage.metrics_path.empty() ? MetricsFile()
                                          : MetricsFile(stage.metrics_path, stage.from.step())),
      events_(stage.tensorboard_dir.empty() ? TensorboardFile()
                                            : TensorboardFile(stage.tensorboard_dir, "1.training")),
      progress_(stage.title, stage.train.steps, stage.from.step()),
      students_(stage.rank_names),
      teachers_(stage.teacher_names) {
  if (stage.tensorboard_dir.empty()) return;
  for (const auto& line : read_metrics_before(stage.metrics_path, stage.from.step()))
    events_.write(line["step"], scalars_of(line));
}

void TrainingLog::add(const StepResult& result, const TeacherReport& teachers,
                      int64_t skipped_in_a_row, bool shown) {
  // Speed and traffic are those of all tokens: what does not count in the loss is work as well.
  const auto step_tokens = static_cast<double>(stage_.train.step_tokens());
  const double wait_teacher = result.wait_seconds / result.seconds;
  const double wait_student = teachers.seconds > 0 ? teachers.wait_seconds / teachers.seconds : 0;
  nlohmann::ordered_json line;
  line["step"] = result.step;
  line["loss"] = result.loss;
  // Without a weight it is not computed.
  const bool has_kl = alpha_of(stage_, result.step) > 0;
  line["kl"] = has_kl ? nlohmann::ordered_json(result.kl) : nlohmann::ordered_json();
  line["ce"] = result.ce;
  if (stage_.match_width > 0) line["hidden"] = result.hidden;
  if (stage_.train.free_running.on_policy > 0)
    line["on_policy"] = stage_.train.free_running.writes(result.step, stage_.seed);
  line["grad_norm"] = result.grad_norm;
  line["lr"] = result.lr;
  if (stage_.source != nullptr) add_changing(stage_, result.step, line);
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
    ahead = format(", ahead %.1f/%lld", fill * static_cast<double>(stage_.lookahead),
                   static_cast<long long>(stage_.lookahead));
  }
  if (!result.skipped.empty()) log_skip(result, skipped_in_a_row, stage_.train.skip_limit, line);
  for (const auto& slow : {students_.add(per_sequence(result, stage_.train.batch)),
                           teachers_.add(teachers.busy_seconds)}) {
    if (slow) say("note    " + *slow);
  }
  metrics_.write(line);
  events_.write(result.step, scalars_of(line));
  std::string parts;
  if (has_kl) {
    parts = format(" (kl %.4f, ce %.4f)", result.kl, result.ce);
  } else if (stage_.source != nullptr) {
    parts = format(" (ce %.4f)", result.ce);
  }
  std::string waits;
  if (stage_.teacher_reports) {
    waits = format("  waited for teacher %2.0f%%, for student %2.0f%%", 100 * wait_teacher,
                   100 * wait_student) +
            ahead;
  } else if (stage_.source != nullptr && stage_.source->replays()) {
    waits = format("  waited for the store %2.0f%%", 100 * wait_teacher);
  }
  progress_.show(result.step + 1,
                 format("loss %.4f%s  grad %.3f  lr %.2e  %s tok/s%s", result.loss, parts.c_str(),
                        result.grad_norm, result.lr,
                        count_text(step_tokens / result.seconds).c_str(), waits.c_str()),
                 shown || result.step == 0 || (result.step + 1) % stage_.train.log_every == 0);
}

}  // namespace temper
