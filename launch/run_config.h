// The [run] and [launch] sections: where a run is kept, and how it uses the machine.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>

namespace temper {

struct RunConfig {
  std::string dir;  ///< the run folder; empty: runs/COMMAND-TIME
  bool overwrite = false;
  std::string resume = "no";  ///< no, auto, or the folder of a checkpoint
  int64_t seed = 1;
  int64_t threads = 0;
  std::string device = "auto";
  std::string precision = "fp32";
  double timeout = 600;  ///< seconds; 0: no watchdog

  /// Declares the `run.*` that every command has; `folder` adds those of commands that write a run
  /// folder.
  void add_options(boost::program_options::options_description& options, bool folder);
  /// Throws c10::ValueError naming the option, the value and the remedy.
  void validate() const;

  /// A line for who counts on run.resume auto, where no checkpoint comes before the end; or empty.
  std::string crash_note(int64_t checkpoint_every) const;

  /// dtype of matrix products, and of logits on the wire.
  at::ScalarType compute() const;
};

}  // namespace temper
