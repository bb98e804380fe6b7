// A checkpoint of a model is a Hugging Face folder: config.json, model.safetensors,
// generation_config.json.
#pragma once

#include <optional>
#include <string>

#include "model/transformer.h"

namespace temper {

/// Reads and checks DIR/config.json. Throws c10::ValueError naming the file, the field, the value
/// and the remedy.
TransformerConfig read_model_config(const std::string& dir);

/// Opens a folder: gpt2, llama, mistral, qwen2 or qwen3; weights in fp32, fp16 or bf16, one or many
/// safetensors files (index file). Missing, surplus and wrongly shaped tensors are refused by name.
Transformer load_model(const std::string& dir, at::Device device = at::kCPU);

/// Writes config.json and model.safetensors (fp32, through a temporary name and a rename) so that
/// `transformers` opens the folder, and generation_config.json with `temperature` (do_sample true)
/// where one is given. `tokenizer_file`, if not empty, is copied in as tokenizer.model. Throws
/// c10::Error naming path and reason where it cannot write.
void save_model(const Transformer& model, const std::string& dir,
                std::optional<double> temperature = std::nullopt,
                const std::string& tokenizer_file = {});

/// Writes DIR/generation_config.json with this decoding temperature (do_sample true). Throws
/// c10::Error naming path and reason.
void write_generation_config(const std::string& dir, double temperature);

}  // namespace temper
