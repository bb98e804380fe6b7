#include "launch/training.h"

#include <ATen/ATen.h>

#include <chrono>
#include <optional>

#include "comm/activity.h"
#include "launch/checkpoint_state.h"
#include "launch/checkpointer.h"
#include "launch/progress.h"
#include "launch/stop_request.h"
#include "launch/training_log.h"
#include "model/safetensors.h"
#include "student/evaluation.h"

namespace temper {

namespace {

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
  plan.faults = stage.faults;
  return plan;
}

/// Too many steps in a row were skipped, the last of them `step`. `words` says more of them.
NumericError skipped_too_often(int64_t step, int64_t in_a_row, const std::string& words) {
  return NumericError(format(
      "step %lld: %lld steps in a row were skipped (--train.skip-limit): %s. The weights are those "
      "after step %lld. A lower --train.lr or a longer --train.warmup often helps; else look at "
      "these sequences",
      static_cast<long long>(step), static_cast<long long>(in_a_row), words.c_str(),
      static_cast<long long>(step - in_a_row)));
}

}  // namespace

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
  TrainingTotals totals;
  if (first_step > 0) {
    step.restore(read_states(stage.from.dir, stage.from.manifest));
    totals.read(stage.from.manifest.totals);
    // With a step that is left they may end; after the last one the model is what it is.
    if (first_step == stage.train.steps && step.guard().exhausted()) {
      throw skipped_too_often(first_step - 1, step.guard().in_a_row(),
                              "the last ones of the run, metrics.jsonl has their sequences; with "
                              "a higher --train.skip-limit the model is taken as it is");
    }
    if (step.guard().exhausted()) step.guard().forget_losses();
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
  const std::string warmup = stage.train.warmup_note();
  if (logs && !warmup.empty()) say("warning: " + warmup);
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
  std::optional<TrainingLog> log;
  if (logs) log.emplace(stage);

  const auto start = std::chrono::steady_clock::now();
  const double seconds_before = totals.seconds;
  const auto count_seconds = [&] { totals.seconds = seconds_before + seconds_since(start); };
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
    const bool saves = checkpoints && (last || (every > 0 && (number + 1) % every == 0));
    if (saves || last) step.settle();
    if (checkpoints) {
      const auto before = std::chrono::steady_clock::now();
      checkpoints->progress();
      totals.checkpoint_seconds += seconds_since(before);
    }
    if (saves && stage.faults != nullptr) {
      const InPhase saving(Phase::kSaving);
      stage.faults->in_save(number);
    }
    if (logs) {
      const TeacherReport teachers =
          stage.teacher_reports ? stage.teacher_reports() : TeacherReport{};
      teacher_stops = teacher_stops || teachers.stop;
      totals.add(result, teachers, stage.train.step_tokens());
      log->add(result, teachers, step.guard().in_a_row(), last);
    }
    if (step.guard().exhausted()) {
      step.settle();
      count_seconds();
      if (checkpoints) checkpoints->save_and_wait(number + 1, totals.to_json());
      throw skipped_too_often(number, step.guard().in_a_row(),
                              result.skipped + "; " + rows_text(result.skipped_rows));
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
      const auto before = std::chrono::steady_clock::now();
      checkpoints->save(number + 1, totals.to_json(), nll);
      totals.checkpoint_seconds += seconds_since(before);
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
