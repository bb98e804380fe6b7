// The [generate] section: prompts, how to decode them, and which of these settings were given.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <optional>
#include <string>
#include <vector>

#include "model/generation_config.h"

namespace temper {

struct GenerateConfig {
  std::optional<std::string> prompt;  ///< may be empty: from the beginning-of-text token on
  std::string prompts;                ///< a file of them
  std::string field = "prompt";       ///< of a .jsonl file
  std::string tokenizer;              ///< empty: the model's own
  int64_t batch = 8;                  ///< prompts decoded at once

  /// Declares the `generate.*`. Decoding settings have no defaults here: what is not given is the
  /// model's to say.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option, the value and the remedy.
  void validate() const;

  /// The decoding settings that options gave, and nothing else.
  DecodingSettings given() const;

  /// The prompts, in order. A file ending in .jsonl holds one JSON object a line, any other one
  /// prompt a line. Throws c10::ValueError naming file, line and reason.
  std::vector<std::string> read_prompts() const;

 private:
  DecodingSettings settings_;
  std::vector<std::string> stops_;
  std::string early_stopping_;
};

}  // namespace temper
