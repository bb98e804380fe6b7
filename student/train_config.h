// The [train] section: steps, batch, optimizer, schedule.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>

#include "student/free_running.h"

namespace temper {

struct TrainConfig {
  int64_t steps = 1000;
  int64_t batch = 16;  ///< sequences per step, over all ranks
  int64_t micro_batch =
      0;  ///< sequences per forward pass of a rank; 0: all of the rank's rows at once
  bool activation_checkpointing = false;
  bool shard_optimizer = false;  ///< ZeRO-1
  int64_t seq = 128;             ///< tokens per sequence
  std::string optimizer = "adamw";
  double lr = 1e-3;
  double min_lr_share = 0.1;  ///< of lr, at the end of the cosine
  int64_t warmup = 50;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double clip = 1.0;
  int64_t log_every = 10;
  int64_t checkpoint_every = 0;
  FreeRunningConfig free_running = {};

  /// Declares `train.*`; `with_teacher`: also those that need one.
  void add_options(boost::program_options::options_description& options, bool with_teacher);
  /// Throws c10::ValueError naming the option, the value and the remedy.
  void validate() const;

  /// Learning rate of a step (0-based): linear warm-up over `warmup` steps, then a cosine down to
  /// min_lr_share·lr at the last step (Loshchilov and Hutter 2017, arXiv 1608.03983, without
  /// restarts).
  double learning_rate(int64_t step) const;
};

}  // namespace temper
