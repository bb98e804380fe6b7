// The [train] section: steps, batch, optimizer, schedule.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>

#include "student/free_running.h"

namespace temper {

struct TrainConfig {
  static constexpr double kUsualDecayShare = 0.2;

  int64_t steps = 1000;
  int64_t batch = 16;  ///< sequences per step, over all ranks
  int64_t micro_batch =
      0;  ///< sequences per forward pass of a rank; 0: all of the rank's rows at once
  bool activation_checkpointing = false;
  bool cuda_graphs = true;       ///< of the student's layers, on one GPU
  bool shard_optimizer = false;  ///< ZeRO-1
  int64_t seq = 128;             ///< tokens per sequence
  std::string optimizer = "adamw";
  double lr = 1e-3;
  std::string lr_schedule = "cosine";     ///< after the warm-up; see learning_rate()
  double min_lr_share = 0.1;              ///< of lr, at the end of cosine, linear and wsd
  double decay_share = kUsualDecayShare;  ///< of the steps, for the decay of wsd
  int64_t warmup = 50;
  double weight_decay = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double clip = 1.0;
  int64_t skip_limit = 5;     ///< skipped steps in a row that end the job; see StepGuard
  double spike_factor = 0;    ///< 0: no guard against spikes
  int64_t spike_window = 50;  ///< steps
  int64_t log_every = 10;
  int64_t checkpoint_every = 0;
  int64_t checkpoint_keep = 3;   ///< the newest; 0: all
  bool checkpoint_best = false;  ///< also the one with the lowest NLL on the fit part
  FreeRunningConfig free_running = {};

  /// Declares `train.*`; `with_teacher`: also those that need one.
  void add_options(boost::program_options::options_description& options, bool with_teacher);
  /// Throws c10::ValueError naming the option, the value and the remedy.
  void validate() const;

  /// Refuses an lr_schedule whose places do not ascend in a run of `steps_of_run`: the teacher's
  /// first training may have other steps. Throws likewise.
  void check_places(int64_t steps_of_run) const;

  /// Learning rate of a step (0-based): linear warm-up over `warmup` steps, then lr times
  ///
  ///   cosine    half a cosine from 1 to min_lr_share at the last step (Loshchilov and Hutter
  ///             2017, arXiv 1608.03983, without restarts)
  ///   linear    a line from 1 to min_lr_share at the last step
  ///   wsd       warm-up, stable, decay: 1, then over the last decay_share of the steps a line to
  ///             min_lr_share (Hu et al. 2024, MiniCPM, arXiv 2404.06395)
  ///   constant  1
  ///
  /// or else the value of lr_schedule as a Schedule.
  double learning_rate(int64_t step) const;

  /// For a person: a warm-up that takes the whole run, so that train.lr is never used, or in the
  /// last step alone. Otherwise empty.
  std::string warmup_note() const;

  /// Tokens that a step takes through the models, over all ranks; fewer may count in its loss.
  int64_t step_tokens() const { return batch * seq; }

 private:
  /// Of lr, after the warm-up.
  double lr_factor(int64_t step) const;
};

}  // namespace temper
