// The options that name or shape a model, and the shape they give.
#include "model/model_config.h"

#include <boost/program_options/value_semantic.hpp>

#include <algorithm>

#include "model/hugging_face.h"

namespace temper {
namespace po = boost::program_options;

namespace {

constexpr int64_t kDefaultLayers = 2;
constexpr int64_t kDefaultWidth = 128;
constexpr int64_t kDefaultHeads = 4;
constexpr int64_t kDefaultPositions = 1024;

}  // namespace

void ModelConfig::add_path(po::options_description& options) {
  options.add_options()((section + ".path").c_str(),
                        po::value<std::string>(&path)->default_value(path)->value_name("DIR"),
                        "Hugging Face folder of the model");
}

void ModelConfig::check_path() const {
  if (!path.empty()) check_model_folder(path, section + ".path");
}

void ModelConfig::add_options(po::options_description& options) {
  const auto declare = [&](const char* key, auto& member, const char* value_name,
                           const std::string& help) {
    using Value = std::remove_reference_t<decltype(member)>;
    options.add_options()((section + "." + key).c_str(),
                          po::value<Value>(&member)->default_value(member)->value_name(value_name),
                          help.c_str());
  };
  const std::string open =
      open_ended ? "; with student.init teacher as the teacher, otherwise 0: " : "";
  const auto or_default = [&](int64_t value) {
    return open_ended ? open + std::to_string(value) : std::string();
  };
  declare(
      "path", path, "DIR",
      "a Hugging Face folder (gpt2, llama, mistral, qwen2, qwen3) to start from; its config.json"
      " then gives the shape and the keys below are not used");
  declare(
      "family", family, "NAME",
      std::string("gpt2 (learned positions, LayerNorm, GELU), or llama, mistral, qwen2, qwen3 "
                  "(RoPE, RMSNorm, SwiGLU)") +
          (open_ended ? "; auto: the teacher's with student.init teacher, otherwise llama" : ""));
  declare("layers", layers, "N",
          std::string("transformer layers") +
              (open_ended ? "; 0: 2, or with student.init teacher half of the teacher's" : ""));
  declare("width", width, "N",
          "channels of the residual stream; a multiple of heads" + or_default(kDefaultWidth));
  declare("heads", heads, "N", "attention heads" + or_default(kDefaultHeads));
  declare("kv-heads", kv_heads, "N",
          "heads of keys and values (grouped-query attention); a divisor of heads; 0: as many as"
          " heads");
  declare("ffn-width", ffn_width, "N",
          "width of the feed-forward layer; 0: 4·width for gpt2, 8/3·width rounded up to a multiple"
          " of 64 for the others");
  declare("positions", positions, "N",
          "longest sequence the model takes, in tokens" + or_default(kDefaultPositions));
  declare("tied-head", tied_head, open_ended ? "true|false|auto" : "true|false",
          "the output head is the embedding");
}

TransformerConfig ModelConfig::resolve(int64_t vocab) const {
  if (!path.empty()) return read_model_config(path);

  if (open_ended) {
    ModelConfig closed = *this;
    closed.open_ended = false;
    const auto fill = [](int64_t& value, int64_t fallback) {
      if (value == 0) value = fallback;
    };
    fill(closed.layers, kDefaultLayers);
    fill(closed.width, kDefaultWidth);
    fill(closed.heads, kDefaultHeads);
    fill(closed.positions, kDefaultPositions);
    if (family == "auto") closed.family = "llama";
    if (tied_head == "auto") closed.tied_head = "true";
    return closed.resolve(vocab);
  }
  const auto option = [&](const char* key) { return "--" + section + "." + key; };
  TORCH_CHECK_VALUE(tied_head == "true" || tied_head == "false", option("tied-head"), " is '",
                    tied_head, "': give true or false");
  TransformerConfig shape;
  try {
    shape.family = family_from_name(family);
  } catch (const c10::ValueError& error) {
    TORCH_CHECK_VALUE(false, option("family"), " ", family, ": ", error.what_without_backtrace());
  }
  const auto positive = [&](const char* key, int64_t value) {
    TORCH_CHECK_VALUE(value >= 1, option(key), " ", value, " must be at least 1");
  };
  positive("layers", layers);
  positive("width", width);
  positive("heads", heads);
  positive("positions", positions);
  const auto not_negative = [&](const char* key, int64_t value) {
    TORCH_CHECK_VALUE(value >= 0, option(key), " ", value,
                      " must be positive, or 0 for the default");
  };
  not_negative("kv-heads", kv_heads);
  not_negative("ffn-width", ffn_width);
  TORCH_CHECK_VALUE(width % heads == 0, option("width"), " ", width, " is not divisible by ",
                    option("heads"), " ", heads, "; choose a multiple of ", heads);
  const bool gpt2 = shape.gpt2();
  TORCH_CHECK_VALUE(gpt2 || width / heads % 2 == 0, option("width"), " ", width, " with ",
                    option("heads"), " ", heads, " gives heads of odd width ", width / heads,
                    "; RoPE turns pairs: choose an even width / heads");
  TORCH_CHECK_VALUE(!gpt2 || kv_heads == 0 || kv_heads == heads, option("kv-heads"), " ", kv_heads,
                    " with ", option("family"), " gpt2, which has no grouped-query attention; ",
                    "leave it at 0");
  TORCH_CHECK_VALUE(kv_heads == 0 || (kv_heads <= heads && heads % kv_heads == 0),
                    option("kv-heads"), " ", kv_heads, " does not divide ", option("heads"), " ",
                    heads, "; choose a divisor of ", heads, ", or 0 for all heads");

  shape.vocab = vocab;
  shape.positions = positions;
  shape.layers = layers;
  shape.width = width;
  shape.heads = heads;
  shape.kv_heads = kv_heads == 0 ? heads : kv_heads;
  shape.head_width = width / heads;
  shape.tied_head = tied_head == "true";
  shape.qkv_bias = shape.family == Family::kQwen2;
  shape.qk_norm = shape.family == Family::kQwen3;
  if (ffn_width > 0) {
    shape.ffn_width = ffn_width;
  } else {
    // Three matrices of 8/3·C hold as many weights as two of 4·C. The cap keeps the product in
    // range; validate() refuses it.
    const int64_t base = std::min<int64_t>(width, int64_t{1} << 32);
    shape.ffn_width = gpt2 ? 4 * base : ((8 * base + 2) / 3 + 63) / 64 * 64;
  }
  shape.validate("the shape in [" + section + "]");
  return shape;
}

}  // namespace temper
