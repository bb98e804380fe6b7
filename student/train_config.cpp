#include "student/train_config.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "comm/schedule.h"

namespace temper {

namespace po = boost::program_options;

namespace {

constexpr const char* kLrSchedule = "train.lr-schedule";

/// Otherwise lr_schedule is a Schedule of factors.
bool has_named_schedule(const TrainConfig& config) {
  const std::string& name = config.lr_schedule;
  return name == "cosine" || name == "linear" || name == "wsd" || name == "constant";
}

Schedule factors_of(const TrainConfig& config) {
  return Schedule::parse(config.lr_schedule, kLrSchedule,
                         "cosine, linear, wsd or constant, or factors of train.lr: ");
}

}  // namespace

void TrainConfig::add_options(po::options_description& options, bool with_teacher) {
  const auto count = [](int64_t* member) {
    return po::value<int64_t>(member)->default_value(*member)->value_name("N");
  };
  const auto number = [](double* member) {
    return po::value<double>(member)->default_value(*member)->value_name("X");
  };
  auto add = options.add_options();
  add("train.steps", count(&steps), "optimizer steps");
  add("train.batch", count(&batch), "sequences per step, over all ranks");
  add("train.micro-batch", count(&micro_batch),
      "sequences per forward pass of one rank; fewer than the rank's share means gradient "
      "accumulation (0: the whole share)");
  add("train.activation-checkpointing",
      po::value<bool>(&activation_checkpointing)
          ->default_value(activation_checkpointing)
          ->value_name("true|false"),
      "keep only the input of each layer and compute the layer again in the backward pass: far "
      "less "
      "memory for about a third more time, the same bits");
  add("train.cuda-graphs",
      po::value<bool>(&cuda_graphs)->default_value(cuda_graphs)->value_name("true|false"),
      "where one rank trains on a GPU: hand it the layers as recorded CUDA graphs, the same "
      "kernels "
      "in two calls");
  add("train.seq", count(&seq), "tokens per sequence");
  add("train.optimizer",
      po::value<std::string>(&optimizer)->default_value(optimizer)->value_name("NAME"),
      "adamw, or sgd (plain, without momentum: for checks)");
  add("train.shard-optimizer",
      po::value<bool>(&shard_optimizer)->default_value(shard_optimizer)->value_name("true|false"),
      "each student rank keeps the optimizer's state of its own share of the weights, and updates "
      "these (ZeRO-1): 1/N of the memory, the same bits");
  add("train.lr", number(&lr), "highest learning rate");
  add("train.lr-schedule",
      po::value<std::string>(&lr_schedule)->default_value(lr_schedule)->value_name("NAME"),
      (std::string("the learning rate after the warm-up: cosine, linear, wsd (stable, then a "
                   "linear decay), constant, or factors of train.lr: ") +
       kScheduleForms)
          .c_str());
  add("train.min-lr-share", number(&min_lr_share),
      "share of train.lr that is left at the end of cosine, linear and wsd");
  add("train.decay-share", number(&decay_share),
      "share of the steps, the last ones, that the decay of wsd takes");
  add("train.warmup", count(&warmup), "steps of linear warm-up");
  add("train.weight-decay", number(&weight_decay), "decoupled weight decay of the matrices");
  add("train.beta1", number(&beta1), "AdamW's decay of the first moment");
  add("train.beta2", number(&beta2), "AdamW's decay of the second moment");
  add("train.eps", number(&eps), "AdamW's epsilon");
  add("train.clip", number(&clip), "largest L2 norm of the gradient (0: no clipping)");
  add("train.skip-limit", count(&skip_limit),
      "a step whose loss or gradient is no finite number is skipped; this many in a row end the "
      "job");
  add("train.spike-factor", number(&spike_factor),
      "also skip a step whose loss is more than this many times the median of the last "
      "train.spike-window steps that were taken (0: never)");
  add("train.spike-window", count(&spike_window), "steps whose median a loss is compared with");
  add("train.log-every", count(&log_every),
      "steps between two lines on the screen; metrics.jsonl has every step");
  add("train.checkpoint-every", count(&checkpoint_every),
      "steps between two checkpoints, from which run.resume goes on; each is a Hugging Face "
      "folder, too (0: one after the last step alone)");
  add("train.checkpoint-keep", count(&checkpoint_keep),
      "newest checkpoints that are kept (0: all)");
  add("train.checkpoint-best",
      po::value<bool>(&checkpoint_best)->default_value(checkpoint_best)->value_name("true|false"),
      "measure the NLL on the fit part at each checkpoint, and keep the best one as well");
  free_running.add_options(options, with_teacher);
}

void TrainConfig::validate() const {
  const auto at_least = [](const char* option, int64_t value, int64_t least) {
    TORCH_CHECK_VALUE(value >= least, "--", option, " is ", value,
                      ": give a whole number of at least ", least);
  };
  at_least("train.steps", steps, 1);
  at_least("train.batch", batch, 1);
  at_least("train.micro-batch", micro_batch, 0);
  at_least("train.seq", seq, 1);
  at_least("train.warmup", warmup, 0);
  at_least("train.skip-limit", skip_limit, 1);
  at_least("train.spike-window", spike_window, 1);
  at_least("train.log-every", log_every, 1);
  at_least("train.checkpoint-every", checkpoint_every, 0);
  at_least("train.checkpoint-keep", checkpoint_keep, 0);
  const auto in_range = [](const char* option, double value, double low, double high,
                           const char* range) {
    TORCH_CHECK_VALUE(value >= low && value <= high, "--", option, " is ", value,
                      ": give a number ", range);
  };
  TORCH_CHECK_VALUE(std::isfinite(lr) && lr > 0, "--train.lr is ", lr,
                    ": give a finite number above 0");
  if (!has_named_schedule(*this)) {
    const Schedule factors = factors_of(*this);
    TORCH_CHECK_VALUE(factors.lowest() >= 0, "--train.lr-schedule is '", lr_schedule,
                      "': ", factors.lowest(),
                      " is no factor of a learning rate; give numbers of at "
                      "least 0");
    check_places(steps);
  }
  in_range("train.min-lr-share", min_lr_share, 0, 1, "from 0 to 1");
  in_range("train.decay-share", decay_share, 1e-6, 1, "above 0, at most 1");
  TORCH_CHECK_VALUE(decay_share == kUsualDecayShare || lr_schedule == "wsd",
                    "--train.decay-share is ", decay_share, ", but --train.lr-schedule is ",
                    lr_schedule, ": give --train.lr-schedule wsd, or --train.decay-share ",
                    kUsualDecayShare);
  in_range("train.weight-decay", weight_decay, 0, 1e3, "of at least 0");
  in_range("train.beta1", beta1, 0, 0.999999, "from 0 to below 1");
  in_range("train.beta2", beta2, 0, 0.999999, "from 0 to below 1");
  in_range("train.eps", eps, 1e-30, 1, "above 0");
  in_range("train.clip", clip, 0, 1e30, "of at least 0 (0: no clipping)");
  TORCH_CHECK_VALUE(spike_factor == 0 || (spike_factor > 1 && spike_factor <= 1e6),
                    "--train.spike-factor is ", spike_factor,
                    ": give a number above 1, or 0 (no guard)");
  free_running.validate(seq);
  TORCH_CHECK_VALUE(optimizer == "adamw" || optimizer == "sgd", "--train.optimizer is '", optimizer,
                    "': give adamw or sgd");
}

void TrainConfig::check_places(int64_t steps_of_run) const {
  if (!has_named_schedule(*this)) factors_of(*this).check_places(steps_of_run, kLrSchedule);
}

std::string TrainConfig::warmup_note() const {
  if (warmup < std::max<int64_t>(2, steps)) return "";
  return c10::str("--train.warmup ", warmup, " is no shorter than the training, ", steps,
                  steps == 1 ? " step" : " steps", ": the learning rate only rises, and ends at ",
                  learning_rate(steps - 1), " where --train.lr is ", lr,
                  "; give fewer steps of warm-up");
}

double TrainConfig::lr_factor(int64_t step) const {
  if (lr_schedule == "constant") return 1;
  if (!has_named_schedule(*this)) return factors_of(*this).value(step, steps);
  if (lr_schedule == "wsd") {
    const auto last = static_cast<double>(steps - 1);
    const double begin = std::max(static_cast<double>(warmup), last * (1.0 - decay_share));
    const double left = last - static_cast<double>(step);
    return min_lr_share +
           (1.0 - min_lr_share) * std::clamp(left / std::max(1.0, last - begin), 0.0, 1.0);
  }
  const double span = static_cast<double>(std::max<int64_t>(1, steps - 1 - warmup));
  const double progress = std::min(1.0, static_cast<double>(step - warmup) / span);
  const double left = lr_schedule == "linear" ? 1.0 - progress
                                              : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return min_lr_share + (1.0 - min_lr_share) * left;
}

double TrainConfig::learning_rate(int64_t step) const {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  return lr * lr_factor(step);
}

}  // namespace temper
