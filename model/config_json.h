// config.json of a Hugging Face folder, to and from our shape. What a folder asks for and we do not
// compute is refused by name: silently other logits would be worse than none.
#pragma once

#include <string>

#include "model/transformer_config.h"

namespace temper {

/// Reads and checks the file `path`: model_type gpt2, llama, mistral, qwen2 or qwen3; `rope_theta`
/// beside the other fields or inside `rope_parameters` (transformers 5). Fields that are missing
/// get the defaults of transformers' classes where these are safe. Throws c10::ValueError naming
/// the file, the field, the value and the remedy.
TransformerConfig read_config_json(const std::string& path);

/// The text of a config.json that transformers (4 and 5) opens as AutoModelForCausalLM with float32
/// weights.
std::string config_json_text(const TransformerConfig& config);

/// The text of a generation_config.json: sampling from the whole distribution at `temperature`, or
/// nothing special (0).
std::string generation_config_text(double temperature);

}  // namespace temper
