#include "launch/generate_config.h"

#include <c10/util/Exception.h>

#include <boost/program_options/value_semantic.hpp>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/json_input.h"
#include "launch/options.h"

namespace temper {

namespace po = boost::program_options;

namespace {

constexpr size_t kMaxLineBytes = 1 << 20;

// One prompt of a JSON object a line.
std::string prompt_of(const std::string& line, const std::string& field, const std::string& where) {
  const nlohmann::json value = parse_json(line, where);
  const auto found = value.is_object() ? value.find(field) : value.end();
  TORCH_CHECK_VALUE(value.is_object() && found != value.end() && found->is_string(), where,
                    ": no object with a string '", field, "'; name the field: --generate.field");
  return found->get<std::string>();
}

template <typename T>
po::typed_value<T>* setting(std::optional<T>& place, const char* unit) {
  return po::value<T>()->value_name(unit)->notifier([&place](const T& value) { place = value; });
}

}  // namespace

void GenerateConfig::add_options(po::options_description& options) {
  auto add = options.add_options();
  add("generate.prompt", setting(prompt, "TEXT"),
      "the text to go on with; empty: from the model's beginning-of-text token on");
  add("generate.prompts",
      po::value<std::string>(&prompts)->default_value(prompts)->value_name("FILE"),
      "or many of them: a prompt a line; .jsonl: a JSON object a line");
  add("generate.field", po::value<std::string>(&field)->default_value(field)->value_name("NAME"),
      "the prompt's field in a .jsonl file");
  add("generate.tokenizer",
      po::value<std::string>(&tokenizer)->default_value(tokenizer)->value_name("PATH"),
      "tokenizer: a folder, a file, or bytes (empty: the model's own; bytes if it has none and a "
      "vocabulary of 256)");
  add("generate.batch", po::value<int64_t>(&batch)->default_value(batch)->value_name("N"),
      "prompts decoded at once");
  // What follows has no default here, or the model's generation_config.json could not give it.
  add("generate.max-new-tokens", setting(settings_.max_new_tokens, "N"),
      "longest continuation (default: the model's generation_config.json, then 128)");
  add("generate.min-new-tokens", setting(settings_.min_new_tokens, "N"),
      "no end of text before so many tokens (default: generation_config.json, then 0)");
  add("generate.sample", setting(settings_.do_sample, "true|false"),
      "draw tokens; false: take the likeliest (default: generation_config.json, then false)");
  add("generate.temperature", setting(settings_.temperature, "T"),
      "logits are divided by T (default: generation_config.json, where calibration writes it, then "
      "1)");
  add("generate.top-k", setting(settings_.top_k, "K"),
      "draw from the K likeliest tokens only; 0: from all (default: generation_config.json, then "
      "50, as in transformers)");
  add("generate.top-p", setting(settings_.top_p, "P"),
      "draw from the fewest tokens that have a probability of P together (default: "
      "generation_config.json, then 1)");
  add("generate.min-p", setting(settings_.min_p, "P"),
      "draw from tokens at least P times as likely as the likeliest (default: "
      "generation_config.json, then 0)");
  add("generate.repetition-penalty", setting(settings_.repetition_penalty, "X"),
      "above 1: tokens of the text so far become less likely (default: generation_config.json, "
      "then "
      "1)");
  add("generate.no-repeat-ngram", setting(settings_.no_repeat_ngram_size, "N"),
      "no N tokens in a row come twice; 0: off (default: generation_config.json, then 0)");
  add("generate.beams", setting(settings_.num_beams, "N"),
      "beam search with N beams (default: generation_config.json, then 1)");
  add("generate.length-penalty", setting(settings_.length_penalty, "X"),
      "beams are compared by log-probability / length^X (default: generation_config.json, then 1)");
  add("generate.early-stopping",
      po::value<std::string>(&early_stopping_)->value_name("true|false|never"),
      "when beam search ends, as in transformers (default: generation_config.json, then false)");
  add("generate.return", setting(settings_.num_return_sequences, "N"),
      "continuations of each prompt (default: generation_config.json, then 1)");
  add("generate.stop", po::value<std::vector<std::string>>(&stops_)->value_name("TEXT"),
      "end before this text; may be given again; \\n, \\t and \\r as in C (default: "
      "generation_config.json, then none)");
}

void GenerateConfig::validate() const {
  TORCH_CHECK_VALUE(prompt || !prompts.empty(),
                    "--generate.prompt is missing: give a text, or a file with "
                    "--generate.prompts");
  TORCH_CHECK_VALUE(!prompt || prompts.empty(), "--generate.prompt and --generate.prompts ",
                    prompts, " are both given: give one of them");
  TORCH_CHECK_VALUE(batch >= 1 && batch <= 4096, "--generate.batch is ", batch,
                    ": give a whole number from 1 to 4096");
  TORCH_CHECK_VALUE(early_stopping_.empty() || early_stopping_ == "true" ||
                        early_stopping_ == "false" || early_stopping_ == "never",
                    "--generate.early-stopping is '", early_stopping_,
                    "': give true, false or never");
  for (const std::string& stop : stops_) {
    TORCH_CHECK_VALUE(!stop.empty(), "--generate.stop is empty: give some text");
  }
  given().validate("");
}

DecodingSettings GenerateConfig::given() const {
  DecodingSettings all = settings_;
  if (!early_stopping_.empty()) {
    all.early_stopping = early_stopping_ == "never"  ? EarlyStopping::kNever
                         : early_stopping_ == "true" ? EarlyStopping::kTrue
                                                     : EarlyStopping::kFalse;
  }
  if (!stops_.empty()) {
    all.stop_strings.emplace();
    for (const std::string& stop : stops_)
      all.stop_strings->push_back(unescaped(stop, "generate.stop"));
  }
  return all;
}

std::vector<std::string> GenerateConfig::read_prompts() const {
  if (prompts.empty()) return {prompt.value()};
  std::ifstream file(prompts, std::ios::binary);
  TORCH_CHECK_VALUE(file, "--generate.prompts ", prompts, ": cannot read this file");
  const bool json = prompts.ends_with(".jsonl");
  std::vector<std::string> result;
  std::string line;
  for (int64_t number = 1; std::getline(file, line); ++number) {
    if (line.ends_with('\r')) line.pop_back();
    if (line.empty()) continue;
    const std::string where = prompts + ", line " + std::to_string(number);
    TORCH_CHECK_VALUE(line.size() <= kMaxLineBytes, where, ": longer than ", kMaxLineBytes,
                      " bytes; give shorter prompts");
    result.push_back(json ? prompt_of(line, field, where) : line);
  }
  TORCH_CHECK_VALUE(!file.bad() && !result.empty(), "--generate.prompts ", prompts,
                    ": holds no prompt; give a file with a prompt a line");
  return result;
}

}  // namespace temper
