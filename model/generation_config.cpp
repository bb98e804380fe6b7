#include "model/generation_config.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

namespace temper {
namespace {

// The one list of settings: transformers' name, the option's name, and the member in each of
// `parts` (DecodingSettings or Decoding).
template <typename F, typename... Parts>
void each_setting(F&& f, Parts&&... parts) {
  f("do_sample", "sample", parts.do_sample...);
  f("temperature", "temperature", parts.temperature...);
  f("top_k", "top-k", parts.top_k...);
  f("top_p", "top-p", parts.top_p...);
  f("min_p", "min-p", parts.min_p...);
  f("repetition_penalty", "repetition-penalty", parts.repetition_penalty...);
  f("no_repeat_ngram_size", "no-repeat-ngram", parts.no_repeat_ngram_size...);
  f("num_beams", "beams", parts.num_beams...);
  f("length_penalty", "length-penalty", parts.length_penalty...);
  f("early_stopping", "early-stopping", parts.early_stopping...);
  f("num_return_sequences", "return", parts.num_return_sequences...);
  f("max_new_tokens", "max-new-tokens", parts.max_new_tokens...);
  f("max_length", "max-length", parts.max_length...);
  f("min_new_tokens", "min-new-tokens", parts.min_new_tokens...);
  f("min_length", "min-length", parts.min_length...);
  f("eos_token_id", "end", parts.eos_token_id...);
  f("stop_strings", "stop", parts.stop_strings...);
}

const char* name_of(EarlyStopping value) {
  return value == EarlyStopping::kNever  ? "never"
         : value == EarlyStopping::kTrue ? "true"
                                         : "false";
}

}  // namespace

void DecodingSettings::validate(const std::string& prefix) const {
  const auto must = [&](const char* name, const char* option, const auto& setting, auto holds,
                        const char* remedy) {
    TORCH_CHECK_VALUE(!setting || holds(*setting),
                      prefix.empty() ? std::string("--generate.") + option : prefix + name, " is ",
                      setting.value(), ": ", remedy);
  };
  const auto in_unit = [](double value) { return value >= 0 && value <= 1; };
  const auto positive = [](double value) { return std::isfinite(value) && value > 0; };
  const auto at_least = [](int64_t least) {
    return [least](int64_t value) { return value >= least; };
  };
  must("temperature", "temperature", temperature, positive,
       "a temperature is a finite number above 0 (without sampling the likeliest token is taken)");
  must("top_k", "top-k", top_k, at_least(0), "give a whole number of at least 0 (0: off)");
  must("top_p", "top-p", top_p, in_unit, "give a number from 0 to 1 (1: off)");
  must("min_p", "min-p", min_p, in_unit, "give a number from 0 to 1 (0: off)");
  must("repetition_penalty", "repetition-penalty", repetition_penalty, positive,
       "give a finite number above 0 (1: off)");
  must("no_repeat_ngram_size", "no-repeat-ngram", no_repeat_ngram_size, at_least(0),
       "give a whole number of at least 0 (0: off)");
  must(
      "num_beams", "beams", num_beams, [](int64_t value) { return value >= 1 && value <= 1024; },
      "give a whole number from 1 to 1024");
  must(
      "length_penalty", "length-penalty", length_penalty,
      [](double value) { return std::isfinite(value); }, "give a finite number");
  must(
      "num_return_sequences", "return", num_return_sequences,
      [](int64_t value) { return value >= 1 && value <= 1024; },
      "give a whole number from 1 to 1024");
  must("max_new_tokens", "max-new-tokens", max_new_tokens, at_least(1),
       "give a whole number of at least 1");
  must("max_length", "max-length", max_length, at_least(1), "give a whole number of at least 1");
  must("min_new_tokens", "min-new-tokens", min_new_tokens, at_least(0),
       "give a whole number of at least 0");
  must("min_length", "min-length", min_length, at_least(0), "give a whole number of at least 0");
}

Decoding resolve_decoding(const DecodingSettings& options, const DecodingSettings& file,
                          const std::string& file_name) {
  Decoding decoding;
  each_setting(
      [&](const char* name, const char*, auto& value, const auto& option, const auto& stored) {
        if (option) {
          value = *option;
        } else if (stored) {
          value = *stored;
        }
        decoding.source[name] = option ? "option" : stored ? file_name : "default";
      },
      decoding, options, file);
  decoding.bos_token_id = file.bos_token_id;
  if (options.max_new_tokens || file.max_new_tokens) decoding.max_length = 0;

  // An option that would do nothing was meant to do something.
  const auto idle = [&](const char* option, bool given, const char* needs) {
    TORCH_CHECK_VALUE(!given, "--generate.", option, " has no effect ", needs);
  };
  const std::string& sampling = decoding.source["do_sample"];
  if (!decoding.do_sample && sampling != "option") {
    const char* needs = "without sampling: add --generate.sample true";
    idle("temperature", options.temperature.has_value(), needs);
    idle("top-k", options.top_k.has_value(), needs);
    idle("top-p", options.top_p.has_value(), needs);
    idle("min-p", options.min_p.has_value(), needs);
  }
  if (decoding.num_beams == 1 && !options.num_beams) {
    const char* needs = "with one beam: add --generate.beams";
    idle("length-penalty", options.length_penalty.has_value(), needs);
    idle("early-stopping", options.early_stopping.has_value(), needs);
  }

  const auto place = [&](const char* name) { return " (" + decoding.source[name] + ")"; };
  TORCH_CHECK_VALUE(decoding.num_beams == 1 || !decoding.do_sample, "beams ", decoding.num_beams,
                    place("num_beams"), " and sampling", place("do_sample"),
                    " do not go together: temper's beam search does not sample; give "
                    "--generate.sample false or --generate.beams 1");
  TORCH_CHECK_VALUE(decoding.num_beams == 1 || decoding.stop_strings.empty(), "stop strings",
                    place("stop_strings"), " do not go with beams", place("num_beams"),
                    ": give --generate.beams 1");
  TORCH_CHECK_VALUE(
      decoding.num_return_sequences == 1 || decoding.do_sample ||
          decoding.num_return_sequences <= decoding.num_beams,
      decoding.num_return_sequences, " texts for each prompt", place("num_return_sequences"),
      " need sampling, or at least as many beams; give --generate.sample true or --generate.beams ",
      decoding.num_return_sequences);
  return decoding;
}

int64_t Decoding::new_tokens(int64_t prompt_tokens) const {
  return max_length > 0 ? std::max<int64_t>(max_length - prompt_tokens, 0) : max_new_tokens;
}

std::string Decoding::describe() const {
  const auto used = [&](const std::string& name) {
    const bool samples =
        name == "temperature" || name == "top_k" || name == "top_p" || name == "min_p";
    if (samples) return do_sample;
    if (name == "length_penalty" || name == "early_stopping") return num_beams > 1;
    if (name == "max_new_tokens") return max_length == 0;
    if (name == "max_length") return max_length > 0;
    return name == "do_sample" || name == "num_beams" || source.at(name) != "default";
  };
  std::ostringstream out;
  const char* between = "";
  const auto show = [&](const char* name, const char* option, const auto& value) {
    using Value = std::decay_t<decltype(value)>;
    if (!used(name)) return;
    out << std::exchange(between, ", ") << option << ' ';
    if constexpr (std::is_same_v<Value, bool>) {
      out << (value ? "true" : "false");
    } else if constexpr (std::is_same_v<Value, double>) {
      char text[32];
      std::snprintf(text, sizeof text, "%.6g", value);
      out << text;
    } else if constexpr (std::is_same_v<Value, EarlyStopping>) {
      out << name_of(value);
    } else if constexpr (std::is_same_v<Value, std::vector<std::string>>) {
      out << value.size() << (value.size() == 1 ? " string" : " strings");
    } else if constexpr (std::is_same_v<Value, std::vector<int64_t>>) {
      for (size_t i = 0; i < value.size(); ++i) out << (i > 0 ? "/" : "") << value[i];
    } else {
      out << value;
    }
    out << " (" << source.at(name) << ')';
  };
  each_setting(show, *this);
  return out.str();
}

nlohmann::ordered_json Decoding::json() const {
  nlohmann::ordered_json all;
  each_setting(
      [&](const char* name, const char*, const auto& value) {
        nlohmann::ordered_json& entry = all[name];
        if constexpr (std::is_same_v<std::decay_t<decltype(value)>, EarlyStopping>) {
          entry["value"] = name_of(value);
        } else {
          entry["value"] = value;
        }
        entry["source"] = source.at(name);
      },
      *this);
  return all;
}

}  // namespace temper
