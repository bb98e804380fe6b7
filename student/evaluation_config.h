// The [evaluate] section: which held-out tokens are looked at.
#pragma once

#include <c10/util/Exception.h>
#include <boost/program_options/options_description.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <cstdint>

namespace temper {

struct EvaluationConfig {
  int64_t max_tokens = 131072;
  int64_t micro_batch = 8;

  /// Declares `evaluate.max-tokens` and `evaluate.micro-batch`.
  void add_options(boost::program_options::options_description& options) {
    namespace po = boost::program_options;
    auto add = options.add_options();
    add("evaluate.max-tokens",
        po::value<int64_t>(&max_tokens)->default_value(max_tokens)->value_name("N"),
        "tokens used of each held-out part (fit, test), from its beginning");
    add("evaluate.micro-batch",
        po::value<int64_t>(&micro_batch)->default_value(micro_batch)->value_name("N"),
        "sequences per forward pass of one rank while evaluating");
  }

  /// Throws c10::ValueError naming the option.
  void validate() const {
    TORCH_CHECK_VALUE(max_tokens >= 1, "--evaluate.max-tokens is ", max_tokens,
                      ": give a number of at least 1");
    TORCH_CHECK_VALUE(micro_batch >= 1, "--evaluate.micro-batch is ", micro_batch,
                      ": give a number of at least 1");
  }
};

}  // namespace temper
