// The [log] section: what a run writes for other software to watch it.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>

namespace temper {

struct LogConfig {
  bool tensorboard = false;

  /// Declares `log.tensorboard`.
  void add_options(boost::program_options::options_description& options) {
    namespace po = boost::program_options;
    options.add_options()(
        "log.tensorboard",
        po::value<bool>(&tensorboard)->default_value(tensorboard)->value_name("true|false"),
        "also write what metrics.jsonl gets as TensorBoard event files, below the run folder's "
        "tensorboard/ (tensorboard --logdir RUN/tensorboard)");
  }
};

}  // namespace temper
