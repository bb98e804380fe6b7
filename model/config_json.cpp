// Field by field, after transformers' GPT2Config, LlamaConfig, MistralConfig, Qwen2Config and
// Qwen3Config.
#include "model/config_json.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "data/json_input.h"

namespace temper {
namespace {

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

// What scales RoPE's frequencies, from rope_scaling or rope_parameters.
RopeScaling read_rope_scaling(const JsonFields& rope, const char* field, const JsonFields& fields) {
  RopeScaling scaling;
  const std::string type = rope.text("rope_type", rope.text("type", "default"));
  std::vector<std::string> known = {"rope_type", "type", "rope_theta", "partial_rotary_factor"};
  if (type == "linear" || type == "llama3") {
    scaling.kind = type == "linear" ? RopeScaling::Kind::kLinear : RopeScaling::Kind::kLlama3;
    scaling.factor = rope.number("factor");
    known.push_back("factor");
  } else if (type != "default") {
    fields.refuse(field, "temper computes only the rope_type default, linear and llama3");
  }
  if (type == "llama3") {
    scaling.low_freq_factor = rope.number("low_freq_factor");
    scaling.high_freq_factor = rope.number("high_freq_factor");
    scaling.original_positions = rope.integer("original_max_position_embeddings");
    known.insert(known.end(),
                 {"low_freq_factor", "high_freq_factor", "original_max_position_embeddings"});
  }
  if (rope.number("partial_rotary_factor", 1.0) != 1.0) {
    fields.refuse(field, "temper turns whole heads only");
  }
  for (const auto& [key, value] : fields.object(field).items()) {
    if (!value.is_null() && std::find(known.begin(), known.end(), key) == known.end()) {
      fields.refuse(field, "temper does not compute its " + key);
    }
  }
  return scaling;
}

// rope_theta beside the other fields with an optional rope_scaling (transformers 4), or both in
// rope_parameters (5). Where a file has both objects, transformers looks at rope_scaling alone.
void read_rope(const JsonFields& fields, TransformerConfig& config) {
  config.rope_theta = fields.number("rope_theta", 10000.0);
  for (const char* name : {"rope_scaling", "rope_parameters"}) {
    if (!fields.has(name) || fields.object(name).empty()) continue;
    const JsonFields rope(fields.object(name), fields.file());
    config.rope_theta = rope.number("rope_theta", config.rope_theta);
    config.rope_scaling = read_rope_scaling(rope, name, fields);
    break;
  }
  if (fields.number("partial_rotary_factor", 1.0) != 1.0) {
    fields.refuse("partial_rotary_factor", "temper turns whole heads only");
  }
}

// Sliding windows cut attention short. No token of a sequence that fits into the window sees the
// difference, so the window is the longest sequence that we take.
void read_windows(const JsonFields& fields, TransformerConfig& config) {
  // The classes take 4096 where the field is not there at all, and no window where it is null.
  const bool mistral = config.family == Family::kMistral;
  const bool missing = !fields.has("sliding_window") && !fields.is_null("sliding_window");
  const std::vector<std::string> kinds = fields.texts("layer_types");
  // Mistral's class looks at the window alone.
  const bool slides = mistral ||
                      std::find(kinds.begin(), kinds.end(), "sliding_attention") != kinds.end() ||
                      (kinds.empty() && fields.boolean("use_sliding_window", false));
  for (const std::string& kind : kinds) {
    if (kind != "full_attention" && kind != "sliding_attention") {
      fields.refuse("layer_types", "temper computes only full_attention and sliding_attention");
    }
  }
  if (!slides) return;
  if (missing) config.positions = std::min<int64_t>(config.positions, 4096);
  if (fields.has("sliding_window")) {
    config.positions = std::min(config.positions, fields.integer("sliding_window"));
    if (config.positions < 1) fields.refuse("sliding_window", "a positive number is wanted");
  }
}

// Special ids outside the vocabulary (some conversions write -1) name nothing.
void read_special_ids(const JsonFields& fields, TransformerConfig& config) {
  const auto known = [&](int64_t id) { return id >= 0 && id < config.vocab; };
  const int64_t bos = fields.integer("bos_token_id", -1);
  const int64_t pad = fields.integer("pad_token_id", -1);
  if (known(bos)) config.bos_id = bos;
  if (known(pad)) config.pad_id = pad;
  for (const int64_t id : fields.integers("eos_token_id")) {
    if (known(id)) config.eos_ids.push_back(id);
  }
}

TransformerConfig read_llama(const JsonFields& fields, Family family) {
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
  read_rope(fields, config);
  read_windows(fields, config);
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
  const nlohmann::json json = read_json_file(path, kMaxConfigBytes);
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
      family == Family::kGpt2 ? read_gpt2(fields) : read_llama(fields, family);
  config.vocab = fields.integer("vocab_size");
  if (family == Family::kGpt2) {
    if (config.heads < 1) fields.refuse("n_head", "a positive number is wanted");
    config.head_width = config.width / config.heads;
  }
  read_special_ids(fields, config);
  config.validate(path);
  return config;
}

namespace {

nlohmann::ordered_json rope_json(const RopeScaling& scaling) {
  nlohmann::ordered_json json;
  switch (scaling.kind) {
    case RopeScaling::Kind::kNone:
      json["rope_type"] = "default";
      break;
    case RopeScaling::Kind::kLinear:
      json["rope_type"] = "linear";
      json["factor"] = scaling.factor;
      break;
    case RopeScaling::Kind::kLlama3:
      json["rope_type"] = "llama3";
      json["factor"] = scaling.factor;
      json["low_freq_factor"] = scaling.low_freq_factor;
      json["high_freq_factor"] = scaling.high_freq_factor;
      json["original_max_position_embeddings"] = scaling.original_positions;
      break;
  }
  return json;
}

// One id, or a list of several; null where there is none, since the classes' defaults could be ids
// outside a small vocabulary.
void write_special_ids(const TransformerConfig& config, nlohmann::ordered_json& json) {
  const auto write = [&](const char* name, int64_t id) {
    if (id >= 0) json[name] = id;
    if (id < 0) json[name] = nullptr;
  };
  write("bos_token_id", config.bos_id);
  write("eos_token_id", config.eos_ids.size() == 1 ? config.eos_ids[0] : -1);
  if (config.eos_ids.size() > 1) json["eos_token_id"] = config.eos_ids;
  if (config.pad_id >= 0) json["pad_token_id"] = config.pad_id;
}

}  // namespace

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
    // transformers 4 reads the first two, 5 the last.
    json["rope_theta"] = config.rope_theta;
    nlohmann::ordered_json rope = rope_json(config.rope_scaling);
    if (config.rope_scaling.kind != RopeScaling::Kind::kNone) json["rope_scaling"] = rope;
    rope["rope_theta"] = config.rope_theta;
    json["rope_parameters"] = rope;
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
  write_special_ids(config, json);
  json["use_cache"] = true;
  // transformers 4 reads the first, 5 the second.
  json["torch_dtype"] = "float32";
  json["dtype"] = "float32";
  return json.dump(2) + "\n";
}

void read_generation_ends(const std::string& path, TransformerConfig& config) {
  const nlohmann::json json = read_json_file(path, kMaxConfigBytes);
  const JsonFields fields(json, path);
  if (!fields.has("eos_token_id")) return;
  std::vector<int64_t> ids = fields.integers("eos_token_id");
  std::erase_if(ids, [&](int64_t id) { return id < 0 || id >= config.vocab; });
  if (!ids.empty()) config.eos_ids = ids;
}

std::string generation_config_text(const TransformerConfig& config,
                                   std::optional<double> temperature) {
  nlohmann::ordered_json json;
  write_special_ids(config, json);
  json["do_sample"] = temperature.has_value();
  if (temperature) {
    json["temperature"] = *temperature;
    // The temperature was fitted to the whole distribution; transformers' default would cut it at
    // the 50 likeliest.
    json["top_k"] = 0;
    json["top_p"] = 1.0;
  }
  return json.dump(2) + "\n";
}

std::string with_temperature(const std::string& path, double temperature) {
  nlohmann::json json = read_json_file(path, kMaxConfigBytes);
  json["do_sample"] = true;
  json["temperature"] = temperature;
  if (!json.contains("top_k")) json["top_k"] = 0;
  return json.dump(2) + "\n";
}

}  // namespace temper
