// The [calibrate] options that `temper calibrate` and `temper distill` share.
#pragma once

#include <c10/util/Exception.h>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <cstdint>

namespace temper {

struct CalibrationConfig {
  int64_t position_buckets = 0;  ///< 0: one temperature for all positions

  /// Declares `calibrate.position-buckets`.
  void add_options(boost::program_options::options_description& options) {
    namespace po = boost::program_options;
    options.add_options()(
        "calibrate.position-buckets",
        po::value<int64_t>(&position_buckets)->default_value(position_buckets)->value_name("N"),
        "also fit a temperature to each of N equal stretches of positions within the sequence "
        "(0: no); they are reported, never written to generation_config.json, which holds one "
        "temperature");
  }

  /// Throws c10::ValueError naming the option.
  void validate(int64_t seq) const {
    TORCH_CHECK_VALUE(position_buckets >= 0 && position_buckets <= seq,
                      "--calibrate.position-buckets is ", position_buckets,
                      ": give 0 (none) to --train.seq, which is ", seq);
  }
};

}  // namespace temper
