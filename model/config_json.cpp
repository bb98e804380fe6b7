// Field by field, after transformers' GPT2Config, LlamaConfig, MistralConfig, Qwen2Config and
// Qwen3Config.
#include "model/config_json.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/json_input.h"

namespace temper {
namespace {

constexpr int64_t kMaxBytes =
    1 << 20;  // real ones take a few kilobytes, with long layer lists some tens

// Reads `name` and refuses every value but those that mean what we compute.
void expect(const JsonFields& fields, const char* name, bool wanted) {
  if (fields.boolean(name, wanted) != wanted) {
    fields.refuse(name, std::string("temper computes only ") + (wanted ? "true" : "false"));
  }
}

TransformerConfig read_gpt2(const JsonFields& fields) {
  TransformerConfig config;
  config.family = Family::kGpt2;
  config.positions = fields.integer("n_positions");
  config.layers = fields.integer("n_layer");
  config.width = fields.integer("n_embd");
  config.heads = fields.integer("n_head");
  config.kv_heads = config.heads;
  config.norm_eps = fields.number("layer_norm_epsilon", 1e-5);
  config.tied_head = fields.boolean("tie_word_embeddings", true);
  config.ffn_width =
      fields.integer("n_inner", 4 * std::clamp<int64_t>(config.width, 0, int64_t{1} << 32));
  const std::string activation = fields.text("activation_function", "gelu_new");
  if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") {
    fields.refuse("activation_function", "temper computes only gelu_new for gpt2");
  }
  expect(fields, "scale_attn_weights", true);
  expect(fields, "scale_attn_by_inverse_layer_idx", false);
  expect(fields, "add_cross_attention", false);
  return config;
}

// rope_theta beside the other fields with an optional rope_scaling (transformers 4), or both in
// rope_parameters (5).
void read_rope(const JsonFields& fields, const std::string& file, TransformerConfig& config) {
  config.rope_theta = fields.number("rope_theta", 10000.0);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(name)) continue;
    const JsonFields rope(fields.object(name), file);
    config.rope_theta = rope.number("rope_theta", config.rope_theta);
    for (const char* key : {"rope_type", "type"}) {
      if (rope.text(key, "default") != "default") {
        fields.refuse(name, "temper computes only the rope_type default");
      }
    }
    for (const auto& [key, value] : fields.object(name).items()) {
      const bool known = key == "rope_type" || key == "type" || key == "rope_theta" ||
                         (key == "partial_rotary_factor" && value == 1.0);
      if (!known && !value.is_null()) fields.refuse(name, "temper does not compute its " + key);
    }
  }
  if (fields.number("partial_rotary_factor", 1.0) != 1.0) {
    fields.refuse("partial_rotary_factor", "temper turns whole heads only");
  }
}

// Sliding windows cut attention short. A window that no sequence fills changes nothing.
void check_windows(const JsonFields& fields, const TransformerConfig& config) {
  // MistralConfig takes 4096 where the field is not there at all, and no window where it is null.
  const bool mistral = config.family == Family::kMistral;
  const bool in_use = mistral || fields.boolean("use_sliding_window", false);
  if (mistral && !fields.has("sliding_window")) {
    TORCH_CHECK_VALUE(
        fields.is_null("sliding_window") || config.positions <= 4096, fields.file(),
        ": sliding_window is missing, which means 4096, and max_position_embeddings is ",
        config.positions, "; temper computes no sliding windows: set it to null, or ",
        "max_position_embeddings to 4096");
  }
  if (in_use && fields.has("sliding_window") &&
      fields.integer("sliding_window") < config.positions) {
    fields.refuse("sliding_window",
                  "temper computes no sliding windows: set it to null, or "
                  "max_position_embeddings to no more than the window");
  }
  for (const std::string& kind : fields.texts("layer_types")) {
    const bool harmless =
        kind == "full_attention" ||
        (kind == "sliding_attention" &&
         (!fields.has("sliding_window") || fields.integer("sliding_window") >= config.positions));
    if (!harmless) fields.refuse("layer_types", "temper computes only full_attention");
  }
}

TransformerConfig read_llama(const JsonFields& fields, const std::string& file, Family family) {
  TransformerConfig config;
  config.family = family;
  config.positions = fields.integer("max_position_embeddings");
  config.layers = fields.integer("num_hidden_layers");
  config.width = fields.integer("hidden_size");
  config.heads = fields.integer("num_attention_heads");
  config.ffn_width = fields.integer("intermediate_size");
  // Only Llama's class falls back to the number of heads; the others fall back to a fixed number.
  config.kv_heads = family == Family::kLlama ? fields.integer("num_key_value_heads", config.heads)
                                             : fields.integer("num_key_value_heads");
  if (config.heads < 1) fields.refuse("num_attention_heads", "a positive number is wanted");
  if (fields.has("head_dim")) {
    config.head_width = fields.integer("head_dim");
  } else if (family == Family::kQwen3) {
    config.head_width = 128;
  } else {
    if (config.width % config.heads != 0) {
      fields.refuse("hidden_size", "it is not divisible by num_attention_heads " +
                                       std::to_string(config.heads) + ", and head_dim is missing");
    }
    config.head_width = config.width / config.heads;
  }
  config.tied_head = fields.boolean("tie_word_embeddings", false);
  config.norm_eps = fields.number("rms_norm_eps", 1e-6);
  config.qkv_bias = family == Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  const std::string activation = fields.text("hidden_act", "silu");
  if (activation != "silu" && activation != "swish") {
    fields.refuse("hidden_act", "temper computes only silu for the Llama family");
  }
  // Qwen2 has biases on queries, keys and values whatever this field says; elsewhere it would add
  // one on the output too.
  if (family != Family::kQwen2) expect(fields, "attention_bias", false);
  expect(fields, "mlp_bias", false);
  read_rope(fields, file, config);
  check_windows(fields, config);
  return config;
}

const char* architecture(Family family) {
  switch (family) {
    case Family::kGpt2:
      return "GPT2LMHeadModel";
    case Family::kLlama:
      return "LlamaForCausalLM";
    case Family::kMistral:
      return "MistralForCausalLM";
    case Family::kQwen2:
      return "Qwen2ForCausalLM";
    case Family::kQwen3:
      return "Qwen3ForCausalLM";
  }
  TORCH_INTERNAL_ASSERT(false, "family ", static_cast<int>(family));
}

}  // namespace

TransformerConfig read_config_json(const std::string& path) {
  const nlohmann::json json = read_json_file(path, kMaxBytes);
  const JsonFields fields(json, path);
  const std::string type = fields.text("model_type");
  Family family;
  try {
    family = family_from_name(type);
  } catch (const c10::ValueError&) {
    fields.refuse("model_type", "temper knows gpt2, llama, mistral, qwen2 and qwen3");
  }
  if (fields.has("quantization_config")) {
    fields.refuse("quantization_config", "temper takes fp32, fp16 and bf16 weights only");
  }
  TransformerConfig config =
      family == Family::kGpt2 ? read_gpt2(fields) : read_llama(fields, path, family);
  config.vocab = fields.integer("vocab_size");
  if (family == Family::kGpt2) {
    if (config.heads < 1) fields.refuse("n_head", "a positive number is wanted");
    config.head_width = config.width / config.heads;
  }
  config.validate(path);
  return config;
}

std::string config_json_text(const TransformerConfig& config) {
  nlohmann::ordered_json json;
  json["architectures"] = {architecture(config.family)};
  json["model_type"] = family_name(config.family);
  json["vocab_size"] = config.vocab;
  if (config.gpt2()) {
    json["n_positions"] = config.positions;
    json["n_ctx"] = config.positions;
    json["n_layer"] = config.layers;
    json["n_embd"] = config.width;
    json["n_head"] = config.heads;
    json["n_inner"] = config.ffn_width;
    json["activation_function"] = "gelu_new";
    json["layer_norm_epsilon"] = config.norm_eps;
    for (const char* rate : {"resid_pdrop", "embd_pdrop", "attn_pdrop"}) json[rate] = 0.0;
  } else {
    json["max_position_embeddings"] = config.positions;
    json["num_hidden_layers"] = config.layers;
    json["hidden_size"] = config.width;
    json["num_attention_heads"] = config.heads;
    json["num_key_value_heads"] = config.kv_heads;
    json["head_dim"] = config.head_width;
    json["intermediate_size"] = config.ffn_width;
    json["hidden_act"] = "silu";
    json["rms_norm_eps"] = config.norm_eps;
    // transformers 4 reads the first, 5 the second.
    json["rope_theta"] = config.rope_theta;
    json["rope_parameters"] = {{"rope_theta", config.rope_theta}, {"rope_type", "default"}};
    json["attention_dropout"] = 0.0;
    if (config.family != Family::kQwen2) json["attention_bias"] = false;
    if (config.family == Family::kLlama) json["mlp_bias"] = false;
    if (config.family != Family::kLlama) json["sliding_window"] = nullptr;
    if (config.family == Family::kQwen2 || config.family == Family::kQwen3) {
      json["use_sliding_window"] = false;
      json["max_window_layers"] = config.layers;
    }
  }
  json["tie_word_embeddings"] = config.tied_head;
  // The classes' defaults would be ids outside a small vocabulary.
  json["bos_token_id"] = nullptr;
  json["eos_token_id"] = nullptr;
  json["use_cache"] = true;
  // transformers 4 reads the first, 5 the second.
  json["torch_dtype"] = "float32";
  json["dtype"] = "float32";
  return json.dump(2) + "\n";
}

std::string generation_config_text(double temperature) {
  nlohmann::ordered_json json;
  if (temperature > 0) {
    json["do_sample"] = true;
    json["temperature"] = temperature;
    // The temperature was fitted to the whole distribution; transformers' default would cut it at
    // the 50 likeliest.
    json["top_k"] = 0;
    json["top_p"] = 1.0;
  } else {
    json["do_sample"] = false;
  }
  return json.dump(2) + "\n";
}

}  // namespace temper
