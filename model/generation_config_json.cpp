// generation_config.json, field by field, after transformers' GenerationConfig.
#include <c10/util/Exception.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/json_input.h"
#include "model/config_json.h"
#include "model/generation_config.h"

namespace temper {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::optional<double> number(const JsonFields& fields, const char* name) {
  return fields.has(name) ? std::optional<double>(fields.number(name)) : std::nullopt;
}

std::optional<int64_t> integer(const JsonFields& fields, const char* name) {
  return fields.has(name) ? std::optional<int64_t>(fields.integer(name)) : std::nullopt;
}

std::optional<bool> boolean(const JsonFields& fields, const char* name) {
  return fields.has(name) ? std::optional<bool>(fields.boolean(name, false)) : std::nullopt;
}

std::optional<std::vector<int64_t>> ids(const JsonFields& fields, const char* name) {
  return fields.has(name) ? std::optional(fields.integers(name)) : std::nullopt;
}

std::optional<std::vector<std::string>> strings(const json& object, const JsonFields& fields,
                                                const char* name) {
  if (!fields.has(name)) return std::nullopt;
  const json& value = object.at(name);
  std::vector<std::string> result;
  for (const json& text : value.is_array() ? value : json::array({value})) {
    if (!text.is_string() || text.get_ref<const std::string&>().empty()) {
      fields.refuse(name, "a string or a list of strings is wanted");
    }
    result.push_back(text.get<std::string>());
  }
  return result;
}

// What would change the text and is not computed here. `idle` are the values that change nothing.
void refuse_unknown(const json& object, const JsonFields& fields) {
  const std::pair<const char*, std::vector<json>> kRefused[] = {
      {"guidance_scale", {1}},
      {"sequence_bias", {}},
      {"encoder_repetition_penalty", {1}},
      {"encoder_no_repeat_ngram_size", {0}},
      {"bad_words_ids", {json::array()}},
      {"force_words_ids", {json::array()}},
      {"constraints", {json::array()}},
      {"forced_bos_token_id", {}},
      {"forced_eos_token_id", {}},
      {"exponential_decay_length_penalty", {}},
      {"suppress_tokens", {json::array()}},
      {"begin_suppress_tokens", {json::array()}},
      {"typical_p", {1}},
      {"epsilon_cutoff", {0}},
      {"eta_cutoff", {0}},
      {"top_h", {}},
      {"watermarking_config", {}},
      {"renormalize_logits", {false}},
      {"penalty_alpha", {0}},
      {"dola_layers", {}},
      {"num_beam_groups", {1}},
      {"diversity_penalty", {0}},
      {"token_healing", {false}},
      {"max_time", {}},
  };
  for (const auto& [name, idle] : kRefused) {
    if (!fields.has(name)) continue;
    const json& value = object.at(name);
    if (std::find(idle.begin(), idle.end(), value) == idle.end()) {
      fields.refuse(name, "temper does not compute it; remove the field to decode without it");
    }
  }
}

}  // namespace

DecodingSettings read_generation_config(const std::string& dir, std::string* file) {
  std::error_code ignored;
  DecodingSettings settings;
  *file = "generation_config.json";
  std::string path = (fs::path(dir) / *file).string();
  const bool there = fs::exists(path, ignored);
  if (!there) {
    *file = "config.json";
    path = (fs::path(dir) / *file).string();
  }
  const json object = read_json_file(path, kMaxConfigBytes);
  const JsonFields fields(object, path);
  settings.eos_token_id = ids(fields, "eos_token_id");
  settings.bos_token_id = integer(fields, "bos_token_id");
  if (!there) return settings;

  refuse_unknown(object, fields);
  settings.do_sample = boolean(fields, "do_sample");
  settings.temperature = number(fields, "temperature");
  settings.top_k = integer(fields, "top_k");
  settings.top_p = number(fields, "top_p");
  settings.min_p = number(fields, "min_p");
  settings.repetition_penalty = number(fields, "repetition_penalty");
  settings.no_repeat_ngram_size = integer(fields, "no_repeat_ngram_size");
  settings.num_beams = integer(fields, "num_beams");
  settings.length_penalty = number(fields, "length_penalty");
  if (fields.has("early_stopping")) {
    const json& value = object.at("early_stopping");
    if (value == "never") {
      settings.early_stopping = EarlyStopping::kNever;
    } else if (value.is_boolean()) {
      settings.early_stopping = value.get<bool>() ? EarlyStopping::kTrue : EarlyStopping::kFalse;
    } else {
      fields.refuse("early_stopping", "true, false or \"never\" is wanted");
    }
  }
  settings.num_return_sequences = integer(fields, "num_return_sequences");
  settings.max_new_tokens = integer(fields, "max_new_tokens");
  settings.max_length = integer(fields, "max_length");
  settings.min_new_tokens = integer(fields, "min_new_tokens");
  settings.min_length = integer(fields, "min_length");
  settings.stop_strings = strings(object, fields, "stop_strings");
  settings.validate(path + ": ");
  return settings;
}

}  // namespace temper
