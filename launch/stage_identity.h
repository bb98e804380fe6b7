// What a stage of a run is of: its data, its teacher, the weights that it began with, its options.
// A checkpoint's manifest and the result of a finished stage both say it, and a run goes on only
// with what is of the same.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>

#include "data/json_input.h"

namespace temper {

/// first_weights of a model that begins at random: the seed gives them.
inline constexpr const char* kRandomWeights = "random";

struct StageIdentity {
  std::string stage;    ///< of the run, such as "train" or "distilled-1"
  int64_t seed = 0;     ///< of the data's order, and of random weights
  std::string data;     ///< fingerprint of the corpus
  std::string teacher;  ///< fingerprint; empty: hard labels
  /// Of the model before its first step: kRandomWeights, or the fingerprint of what was loaded.
  /// Empty: not known, as in files of earlier versions of temper.
  std::string first_weights;
  /// The options that gave first_weights, for messages. Not written.
  std::string first_weights_options;
  std::string configuration;  ///< resolved, as an INI file

  /// Adds the fields to `json`.
  void write(nlohmann::ordered_json& json) const;
  /// Takes the fields that write() added. Throws c10::ValueError naming file and field.
  void read(const JsonFields& fields);

  /// Throws c10::ValueError unless this, which the file `path` says, is of what `expected` is:
  /// names the path, the field or option, both values and the remedy.
  void check_same(const StageIdentity& expected, const std::string& path) const;
};

}  // namespace temper
