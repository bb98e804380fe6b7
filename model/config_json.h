// config.json of a Hugging Face folder, to and from our shape. What a folder asks for and we do not
// compute is refused by name: silently other logits would be worse than none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "model/transformer_config.h"

namespace temper {

/// The largest config.json or generation_config.json that is read: real ones take a few kilobytes,
/// with long lists of layers some tens.
inline constexpr int64_t kMaxConfigBytes = 1 << 20;

/// Reads and checks the file `path`: model_type gpt2, llama, mistral, qwen2 or qwen3; `rope_theta`
/// beside the other fields or inside `rope_parameters` (transformers 5). Fields that are missing
/// get the defaults of transformers' classes where these are safe. Throws c10::ValueError naming
/// the file, the field, the value and the remedy.
TransformerConfig read_config_json(const std::string& path);

/// Takes the ids that end a text from the generation_config.json at `path` where it names some
/// inside the vocabulary: chat models list their end of turn there alone. Throws c10::ValueError
/// naming the file where it is not valid.
void read_generation_ends(const std::string& path, TransformerConfig& config);

/// The text of a config.json that transformers (4 and 5) opens as AutoModelForCausalLM with float32
/// weights.
std::string config_json_text(const TransformerConfig& config);

/// The text of a generation_config.json: the model's special ids, and sampling from the whole
/// distribution at `temperature` where one is given.
std::string generation_config_text(const TransformerConfig& config,
                                   std::optional<double> temperature);

/// The text of the generation_config.json at `path` with this temperature and do_sample true, all
/// else as it was. Throws c10::ValueError naming the file where it is not valid.
std::string with_temperature(const std::string& path, double temperature);

}  // namespace temper
