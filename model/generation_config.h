// How text is decoded: each setting with the place it came from. The model's own
// generation_config.json gives the defaults (there the calibrated temperature stands), options beat
// it, and what neither gives is as in transformers.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace temper {

/// When beam search ends, as `early_stopping` in transformers: true: with as many finished beams as
/// there are beams; false: when the best running beam, at its present length, is no better than the
/// worst finished one; "never": the same, but at the best length that it may still reach.
enum class EarlyStopping { kFalse, kTrue, kNever };

/// What one place says; what it does not say is empty. Names and meanings are those of
/// transformers' GenerationConfig, version 5.23.
struct DecodingSettings {
  std::optional<bool> do_sample;
  std::optional<double> temperature;
  std::optional<int64_t> top_k;  ///< 0: off
  std::optional<double> top_p;   ///< 1: off
  std::optional<double> min_p;   ///< 0: off
  std::optional<double> repetition_penalty;
  std::optional<int64_t> no_repeat_ngram_size;  ///< 0: off
  std::optional<int64_t> num_beams;
  std::optional<double> length_penalty;
  std::optional<EarlyStopping> early_stopping;
  std::optional<int64_t> num_return_sequences;
  std::optional<int64_t> max_new_tokens;
  std::optional<int64_t> max_length;  ///< with the prompt; max_new_tokens comes before it
  std::optional<int64_t> min_new_tokens;
  std::optional<int64_t> min_length;
  std::optional<std::vector<int64_t>> eos_token_id;
  std::optional<int64_t> bos_token_id;
  std::optional<std::vector<std::string>> stop_strings;

  /// Throws c10::ValueError naming the setting, its value and the remedy. `prefix` stands before
  /// the name ("FILE: "); empty: the settings are options and are named as such.
  void validate(const std::string& prefix) const;
};

/// All settings of one run.
struct Decoding {
  bool do_sample = false;
  double temperature = 1.0;
  int64_t top_k = 50;
  double top_p = 1.0;
  double min_p = 0.0;
  double repetition_penalty = 1.0;
  int64_t no_repeat_ngram_size = 0;
  int64_t num_beams = 1;
  double length_penalty = 1.0;
  EarlyStopping early_stopping = EarlyStopping::kFalse;
  int64_t num_return_sequences = 1;
  int64_t max_new_tokens = 128;
  int64_t max_length = 0;  ///< 0: max_new_tokens counts
  int64_t min_new_tokens = 0;
  int64_t min_length = 0;
  std::vector<int64_t> eos_token_id;
  std::optional<int64_t> bos_token_id;
  std::vector<std::string> stop_strings;
  int64_t vocab = 0;  ///< only ids below it are chosen (a model's rows beyond pad); 0: all

  /// Where each setting came from, by its name: "option", a file's name, or "default".
  std::map<std::string, std::string> source;

  /// How many tokens may follow a prompt of this length.
  int64_t new_tokens(int64_t prompt_tokens) const;
  /// The settings that have an effect, for a person: "greedy (default); max-new-tokens 128
  /// (default)".
  std::string describe() const;
  /// Every setting: {"temperature": {"value": 0.96, "source": "generation_config.json"}, ...}.
  nlohmann::ordered_json json() const;
};

/// Reads DIR/generation_config.json; where there is none, the ids of DIR/config.json, as
/// transformers does. `file` becomes the name of the file that was read. Fields that would change
/// the result and that temper does not compute are refused by name. Throws c10::ValueError naming
/// file, field, value and remedy.
DecodingSettings read_generation_config(const std::string& dir, std::string* file);

/// Options over the file over the defaults. Throws c10::ValueError where settings contradict each
/// other, or where an option would have no effect (--generate.temperature without sampling).
Decoding resolve_decoding(const DecodingSettings& options, const DecodingSettings& file,
                          const std::string& file_name);

}  // namespace temper
