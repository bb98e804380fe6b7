#include "launch/distill_config.h"

#include <c10/util/Exception.h>

#include "launch/store_setup.h"

namespace temper {

namespace po = boost::program_options;

namespace {

/// Refuses options of the hard labels where nothing is trained on any of them.
void check_hard_labels_count(const DistillConfig& config) {
  if (config.hard_labels) return;  // the comparison learns from them
  const Schedule alpha = config.loss.alpha_schedule.value_or(config.loss.alpha);
  const bool weighed = alpha.lowest() < 1;
  if (weighed && config.train.free_running.on_policy < 1) return;
  const std::string option = weighed ? "--train.on-policy" : "--loss.alpha";
  const std::string reason = weighed ? " 1, where nobody has labelled the rows"
                                     : " " + alpha.text() + ", where hard labels have no weight";
  const LabelLossConfig& own = config.loss.labels;
  const LabelLossConfig usual;
  const auto check = [&](const char* of_labels, auto value, auto usual_value) {
    TORCH_CHECK_VALUE(value == usual_value, of_labels, " is ", value, " with ", option, reason,
                      ": give ", option,
                      " below 1, or --compare.hard-labels true for a student that learns from "
                      "hard labels, or ",
                      of_labels, " ", usual_value);
  };
  check("--loss.label-smoothing", own.smoothing, usual.smoothing);
  check("--loss.hard-temperature", own.temperature, usual.temperature);
  check("--loss.hard-rescale", std::string(own.rescale ? "true" : "false"),
        std::string(usual.rescale ? "true" : "false"));
}

}  // namespace

void DistillConfig::add_options(po::options_description& options) {
  run.add_options(options, /*folder=*/true);
  auto add = options.add_options();
  add("launch.spread", po::value<bool>(&spread)->default_value(spread)->value_name("true|false"),
      "each node gets teachers and students; false: the last ranks are the teachers (where they "
      "have "
      "nodes of their own)");
  add("launch.teachers", po::value<int64_t>(&teachers)->default_value(teachers)->value_name("N"),
      "teacher ranks; the other ranks are students (0: colocated, every rank runs both models)");
  data.add_options(options);
  teacher.add_options(options);
  add("teacher.store", po::value<std::string>(&store)->default_value(store)->value_name("DIR"),
      "learn from the soft targets that temper record or teacher.tee wrote there; no teacher runs");
  add("teacher.tee", po::value<std::string>(&tee)->default_value(tee)->value_name("DIR"),
      "also record the soft targets there, for teacher.store (of the first seed, with "
      "compare.seeds)");
  student.add_options(options);
  loss.add_options(options);
  train.add_options(options, /*with_teacher=*/true);
  evaluation.add_options(options);
  log.add_options(options);
  calibration.add_options(options);
  faults.add_options(options);
  add("compare.hard-labels",
      po::value<bool>(&hard_labels)->default_value(hard_labels)->value_name("true|false"),
      "also train the same student on hard labels alone, for the same steps");
  add("compare.seeds", po::value<int64_t>(&seeds)->default_value(seeds)->value_name("N"),
      "repeat student (and comparison) with N seeds, run.seed and the next ones; the run "
      "folder's student is the first");
  add("debug.dump-gradient",
      po::value<std::string>(&gradient_path)->default_value(gradient_path)->value_name("FILE"),
      "write the first step's gradient, reduced over all ranks and not clipped, to this "
      "safetensors file");
}

void DistillConfig::validate() const {
  run.validate();
  data.validate();
  teacher.validate();
  student.validate();
  train.validate();
  if (teacher.train_steps > 0) train.check_places(teacher.train_steps);
  const LossConfig own = student_loss();
  own.validate();
  own.check_places(train.steps);
  own.check_payload(payload_from_name(teacher.payload));
  check_hard_labels_count(*this);
  evaluation.validate();
  calibration.validate(train.seq);
  faults.validate();
  TORCH_CHECK_VALUE(teachers >= 0, "--launch.teachers is ", teachers,
                    ": give 0 (colocated) or more");
  TORCH_CHECK_VALUE(!replays() || teachers == 0, "--launch.teachers is ", teachers,
                    ", but --teacher.store ", store,
                    " needs no teacher ranks: give --launch.teachers 0, all ranks are students");
  TORCH_CHECK_VALUE(!replays() || teacher.train_steps == 0, "--teacher.train-steps is ",
                    teacher.train_steps, ", but with --teacher.store ", store,
                    " no teacher runs: give --teacher.train-steps 0");
  TORCH_CHECK_VALUE(!replays() || tee.empty(), "--teacher.tee ", tee, " and --teacher.store ",
                    store, " exclude each other: what is replayed is recorded already");
  if (replays()) check_recordable(teacher.temperature, "--teacher.store " + store);
  if (!tee.empty()) check_recordable(teacher.temperature, "--teacher.tee " + tee);
  TORCH_CHECK_VALUE(
      tee.empty() || teacher.batch == 0, "--teacher.tee ", tee, " with --teacher.batch ",
      teacher.batch,
      ": how many micro-batches share a forward pass then depends on timing, and with "
      "it the last bits, so that a damaged shard could not be made again as it was; "
      "give --teacher.batch 0");
  train.free_running.check_rows(data);
  const char* rewrites =
      train.free_running.on_policy > 0 ? "--train.on-policy" : "--train.scheduled-sampling";
  TORCH_CHECK_VALUE(!train.free_running.any() || (!replays() && tee.empty()), rewrites, " with ",
                    replays() ? "--teacher.store " + store : "--teacher.tee " + tee,
                    ": recorded soft targets are those of the corpus's own rows; leave one out");
  TORCH_CHECK_VALUE(gradient_path.empty() || !train.shard_optimizer, "--debug.dump-gradient ",
                    gradient_path,
                    " with --train.shard-optimizer true: no rank has the whole gradient; give "
                    "--train.shard-optimizer false");
  TORCH_CHECK_VALUE(seeds >= 1 && seeds <= 1000, "--compare.seeds is ", seeds, ": give 1 to 1000");
}

LossConfig DistillConfig::student_loss() const {
  LossConfig own = loss;
  own.temperature_schedule = teacher.temperature;
  return own;
}

}  // namespace temper
