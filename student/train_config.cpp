#include "student/train_config.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <numbers>

namespace temper {

namespace po = boost::program_options;

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
  add("train.seq", count(&seq), "tokens per sequence");
  add("train.optimizer",
      po::value<std::string>(&optimizer)->default_value(optimizer)->value_name("NAME"),
      "adamw, or sgd (plain, without momentum: for checks)");
  add("train.shard-optimizer",
      po::value<bool>(&shard_optimizer)->default_value(shard_optimizer)->value_name("true|false"),
      "each student rank keeps the optimizer's state of its own share of the weights, and updates "
      "these (ZeRO-1): 1/N of the memory, the same bits");
  add("train.lr", number(&lr), "highest learning rate");
  add("train.min-lr-share", number(&min_lr_share),
      "share of train.lr that is left at the end of the cosine");
  add("train.warmup", count(&warmup), "steps of linear warm-up");
  add("train.weight-decay", number(&weight_decay), "decoupled weight decay of the matrices");
  add("train.beta1", number(&beta1), "AdamW's decay of the first moment");
  add("train.beta2", number(&beta2), "AdamW's decay of the second moment");
  add("train.eps", number(&eps), "AdamW's epsilon");
  add("train.clip", number(&clip), "largest L2 norm of the gradient (0: no clipping)");
  add("train.log-every", count(&log_every),
      "steps between two lines on the screen; metrics.jsonl has every step");
  add("train.checkpoint-every", count(&checkpoint_every),
      "steps between two checkpoints of the weights, each a Hugging Face folder (0: none)");
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
  at_least("train.log-every", log_every, 1);
  at_least("train.checkpoint-every", checkpoint_every, 0);
  const auto in_range = [](const char* option, double value, double low, double high,
                           const char* range) {
    TORCH_CHECK_VALUE(value >= low && value <= high, "--", option, " is ", value,
                      ": give a number ", range);
  };
  TORCH_CHECK_VALUE(std::isfinite(lr) && lr > 0, "--train.lr is ", lr,
                    ": give a finite number above 0");
  in_range("train.min-lr-share", min_lr_share, 0, 1, "from 0 to 1");
  in_range("train.weight-decay", weight_decay, 0, 1e3, "of at least 0");
  in_range("train.beta1", beta1, 0, 0.999999, "from 0 to below 1");
  in_range("train.beta2", beta2, 0, 0.999999, "from 0 to below 1");
  in_range("train.eps", eps, 1e-30, 1, "above 0");
  in_range("train.clip", clip, 0, 1e30, "of at least 0 (0: no clipping)");
  free_running.validate(seq);
  TORCH_CHECK_VALUE(optimizer == "adamw" || optimizer == "sgd", "--train.optimizer is '", optimizer,
                    "': give adamw or sgd");
}

double TrainConfig::learning_rate(int64_t step) const {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  const double span = static_cast<double>(std::max<int64_t>(1, steps - 1 - warmup));
  const double progress = std::min(1.0, static_cast<double>(step - warmup) / span);
  const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return lr * (min_lr_share + (1.0 - min_lr_share) * cosine);
}

}  // namespace temper
