// Hugging Face folders that are incomplete, wrong or hostile.
#include "model/hugging_face.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "model/safetensors.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

class HuggingFaceTest : public testing::Test {
 protected:
  void SetUp() override {
    fs::remove_all(dir_);
    fs::copy(std::string(TEMPER_SOURCE_DIR) + "/tests/model/golden/llama", dir_);
    config_ = nlohmann::json::parse(std::ifstream(dir_ + "/config.json"));
    const SafetensorsFile file(dir_ + "/model.safetensors");
    for (const std::string& name : file.names())
      tensors_.emplace_back(name, file.tensor(name).clone());
  }
  void TearDown() override { fs::remove_all(dir_); }
  std::string refusal() {
    try {
      load_model(dir_);
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  }
  std::string with_config(const std::string& key, const nlohmann::json& value) {
    nlohmann::json changed = config_;
    changed[key] = value;
    std::ofstream(dir_ + "/config.json") << changed.dump();
    return refusal();
  }
  std::string with_config_text(const std::string& text) {
    std::ofstream(dir_ + "/config.json") << text;
    return refusal();
  }
  const std::string dir_ = testing::TempDir() + "temper-folder-" + std::to_string(getpid());
  nlohmann::json config_;
  std::vector<std::pair<std::string, at::Tensor>> tensors_;
};

TEST_F(HuggingFaceTest, OpensWhatIsRight) { EXPECT_EQ(refusal(), "accepted"); }

TEST_F(HuggingFaceTest, RefusesByNameWhatItDoesNotCompute) {
  struct Change {
    std::string key;
    nlohmann::json value;
    std::string words;
  };
  const std::vector<Change> changes = {
      {"model_type", "mamba", "mamba"},
      {"hidden_act", "relu", "hidden_act"},
      {"mlp_bias", true, "mlp_bias"},
      {"num_attention_heads", 5, "heads 5"},
      {"hidden_size", -1, "width is -1"},
      {"num_hidden_layers", 0, "layers is 0"},
      {"vocab_size", "many", "vocab_size"},
      {"num_key_value_heads", 3, "kv-heads 3"},
      {"rms_norm_eps", "small", "rms_norm_eps"},
      {"num_hidden_layers", 1e30, "num_hidden_layers"},
      {"max_position_embeddings", nullptr, "max_position_embeddings"}};
  for (const Change& change : changes) {
    const std::string message = with_config(change.key, change.value);
    EXPECT_NE(message.find("config.json"), std::string::npos) << change.key << ": " << message;
    EXPECT_NE(message.find(change.words), std::string::npos) << change.key << ": " << message;
  }
  EXPECT_NE(
      with_config("rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}).find("config.json"),
      std::string::npos);
}

TEST_F(HuggingFaceTest, RefusesMalformedConfigs) {
  for (const std::string& text :
       {std::string(), std::string("{"), std::string("[]"), std::string("null"),
        std::string("{\"a\":1,\"a\":2}"), std::string(100000, '['), std::string("\xff\xfe"),
        std::string("{\"model_type\": 7}")}) {
    EXPECT_NE(with_config_text(text).find("config.json"), std::string::npos) << text.substr(0, 40);
  }
}

TEST_F(HuggingFaceTest, NamesMissingSurplusAndMisshapenTensors) {
  const std::string path = dir_ + "/model.safetensors";
  auto fewer = tensors_;
  const std::string dropped = fewer[3].first;
  fewer.erase(fewer.begin() + 3);
  write_safetensors(path, fewer);
  EXPECT_NE(refusal().find(dropped), std::string::npos) << refusal();
  auto more = tensors_;
  more.emplace_back("model.layers.0.extra.weight", at::zeros({2}));
  write_safetensors(path, more);
  EXPECT_NE(refusal().find("model.layers.0.extra.weight"), std::string::npos) << refusal();
  auto other = tensors_;
  other[2].second = at::zeros({3, 3});
  write_safetensors(path, other);
  EXPECT_NE(refusal().find(other[2].first), std::string::npos) << refusal();
  fs::remove(path);
  EXPECT_NE(refusal().find("model.safetensors"), std::string::npos) << refusal();
}

TEST_F(HuggingFaceTest, OpensHalfPrecisionAndShards) {
  const Transformer whole = load_model(dir_);
  std::vector<std::pair<std::string, at::Tensor>> first, second;
  nlohmann::json index;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    (i % 2 == 0 ? first : second)
        .emplace_back(tensors_[i].first,
                      tensors_[i].second.to(i % 2 == 0 ? at::kBFloat16 : at::kHalf));
    index["weight_map"][tensors_[i].first] =
        i % 2 == 0 ? "model-00001-of-00002.safetensors" : "model-00002-of-00002.safetensors";
  }
  fs::remove(dir_ + "/model.safetensors");
  write_safetensors(dir_ + "/model-00001-of-00002.safetensors", first);
  write_safetensors(dir_ + "/model-00002-of-00002.safetensors", second);
  std::ofstream(dir_ + "/model.safetensors.index.json") << index.dump();
  const Transformer parts = load_model(dir_);
  EXPECT_LT(((parts.flat_weights() - whole.flat_weights()).norm() / whole.flat_weights().norm())
                .item<double>(),
            5e-3);
  index["weight_map"].begin().value() = "../outside.safetensors";
  std::ofstream(dir_ + "/model.safetensors.index.json") << index.dump();
  EXPECT_NE(refusal(), "accepted");
}

TEST_F(HuggingFaceTest, CutsLargeFoldersIntoShards) {
  const std::string out = dir_ + "/shards";
  const Transformer model = load_model(dir_);
  const auto files = [&] {
    std::set<std::string> names;
    for (const auto& entry : fs::directory_iterator(out)) {
      const std::string name = entry.path().filename();
      if (name.find("safetensors") != std::string::npos) names.insert(name);
    }
    return names;
  };
  save_model(model, out, std::nullopt, {}, /*max_shard_bytes=*/20000);
  const std::set<std::string> many = files();
  EXPECT_GE(many.size(), 3u);
  EXPECT_EQ(many.count("model.safetensors"), 0u);
  const auto index = nlohmann::json::parse(std::ifstream(out + "/model.safetensors.index.json"));
  EXPECT_EQ(index.at("weight_map").size(), tensors_.size());
  int64_t bytes = 0;
  for (const auto& [name, tensor] : tensors_) bytes += static_cast<int64_t>(tensor.nbytes());
  EXPECT_EQ(index.at("metadata").at("total_size").get<int64_t>(), bytes);
  EXPECT_TRUE(at::equal(load_model(out).flat_weights(), model.flat_weights()));
  // Saved again as one file: the old index must not be what a reader finds.
  save_model(model, out);
  EXPECT_EQ(files().count("model.safetensors.index.json"), 0u);
  EXPECT_TRUE(at::equal(load_model(out).flat_weights(), model.flat_weights()));
}

TEST_F(HuggingFaceTest, KeepsTheTypeOfTheFile) {
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf}) {
    auto narrow = tensors_;
    for (auto& [name, tensor] : narrow) tensor = tensor.to(type);
    write_safetensors(dir_ + "/model.safetensors", narrow);
    LoadOptions as_it_is;
    as_it_is.dtype = std::nullopt;
    const Transformer frozen = load_model(dir_, as_it_is);
    EXPECT_EQ(frozen.flat_weights().scalar_type(), type);
    const Transformer wide = load_model(dir_);
    EXPECT_EQ(wide.flat_weights().scalar_type(), at::kFloat);
    // The weights are cast where they are used, so both compute the same.
    const at::NoGradGuard no_grad;
    const at::Tensor tokens = at::arange(12, at::kLong).view({2, 6});
    EXPECT_TRUE(at::equal(frozen.hidden(tokens, at::kFloat), wide.hidden(tokens, at::kFloat)));
    EXPECT_TRUE(
        at::equal(frozen.hidden(tokens, at::kBFloat16), wide.hidden(tokens, at::kBFloat16)) ||
        type == at::kHalf);
    Transformer trained = load_model(dir_, as_it_is);
    EXPECT_THROW(trained.require_gradients(), c10::Error);
  }
}

TEST_F(HuggingFaceTest, TrimsRowsOfVocabulary) {
  const at::NoGradGuard no_grad;
  const Transformer whole = load_model(dir_);
  LoadOptions options;
  options.vocab = 50;
  const Transformer trimmed = load_model(dir_, options);
  EXPECT_EQ(trimmed.config().vocab, 50);
  const at::Tensor tokens = at::arange(40, at::kLong).view({2, 20});
  EXPECT_TRUE(at::equal(trimmed.hidden(tokens, at::kFloat), whole.hidden(tokens, at::kFloat)));
  EXPECT_TRUE(at::equal(trimmed.head(), whole.head().narrow(0, 0, 50)));
  options.vocab = 62;
  EXPECT_THROW(load_model(dir_, options), c10::ValueError);
}

TEST_F(HuggingFaceTest, KeepsTheLayersAskedFor) {
  LoadOptions options;
  options.layers = {1};
  const Transformer whole = load_model(dir_), cut = load_model(dir_, options);
  EXPECT_EQ(cut.config().layers, 1);
  int compared = 0;
  for (const Parameter& ours : cut.parameters()) {
    std::string name = ours.name;
    const size_t at = name.find("layers.0.");
    if (at != std::string::npos) name.replace(at, 9, "layers.1.");
    for (const Parameter& theirs : whole.parameters()) {
      if (theirs.name != name) continue;
      EXPECT_TRUE(at::equal(ours.value, theirs.value)) << name;
      ++compared;
    }
  }
  EXPECT_EQ(compared, static_cast<int>(cut.parameters().size()));
  options.layers = {0, 2};
  EXPECT_THROW(load_model(dir_, options), c10::ValueError);
  // A tensor that no layer has is refused whichever layers are kept.
  auto more = tensors_;
  more.emplace_back("model.layers.0.extra.weight", at::zeros({2}));
  write_safetensors(dir_ + "/model.safetensors", more);
  options.layers = {1};
  EXPECT_THROW(load_model(dir_, options), c10::ValueError);
}

TEST_F(HuggingFaceTest, KeepsSpecialIdsAndWindows) {
  nlohmann::json changed = config_;
  changed["bos_token_id"] = 3;
  changed["eos_token_id"] = 4;
  changed["pad_token_id"] = -1;
  std::ofstream(dir_ + "/config.json") << changed.dump();
  // A chat model's end of turn stands here alone.
  std::ofstream(dir_ + "/generation_config.json") << R"({"eos_token_id": [4, 5, 4000]})";
  const std::string out = dir_ + "/special";
  save_model(load_model(dir_), out, 1.5);
  for (const char* file : {"/config.json", "/generation_config.json"}) {
    const auto written = nlohmann::json::parse(std::ifstream(out + file));
    EXPECT_EQ(written.at("bos_token_id").get<int>(), 3) << file;
    EXPECT_EQ(written.at("eos_token_id").get<std::vector<int>>(), (std::vector<int>{4, 5})) << file;
    EXPECT_FALSE(written.contains("pad_token_id")) << file;
  }
  // Longer sequences than a window would need it.
  changed["model_type"] = "mistral";
  changed["sliding_window"] = 16;
  std::ofstream(dir_ + "/config.json") << changed.dump();
  EXPECT_EQ(read_model_config(dir_).positions, 16);
  changed["sliding_window"] = nullptr;
  std::ofstream(dir_ + "/config.json") << changed.dump();
  EXPECT_EQ(read_model_config(dir_ + "/config.json").positions, 40);
  changed["model_type"] = "qwen3";
  changed["max_position_embeddings"] = 10000;
  changed["use_sliding_window"] = true;
  changed.erase("sliding_window");
  std::ofstream(dir_ + "/config.json") << changed.dump();
  EXPECT_EQ(read_model_config(dir_).positions, 4096);
}

// Where a file has both objects, transformers looks at the older one alone.
TEST_F(HuggingFaceTest, RopeScalingComesBeforeRopeParameters) {
  nlohmann::json changed = config_;
  changed["rope_theta"] = 5000.0;
  changed["rope_scaling"] = {{"rope_type", "linear"}, {"factor", 2.0}};
  changed["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  std::ofstream(dir_ + "/config.json") << changed.dump();
  const TransformerConfig both = read_model_config(dir_);
  EXPECT_EQ(both.rope_scaling.kind, RopeScaling::Kind::kLinear);
  EXPECT_EQ(both.rope_scaling.factor, 2.0);
  EXPECT_EQ(both.rope_theta, 5000.0);
  changed.erase("rope_scaling");
  std::ofstream(dir_ + "/config.json") << changed.dump();
  EXPECT_EQ(read_model_config(dir_).rope_theta, 1e6);
}

TEST_F(HuggingFaceTest, RefusesWrongRopeScaling) {
  const nlohmann::json good = {{"rope_type", "llama3"},   {"rope_theta", 10000.0},
                               {"factor", 8.0},           {"low_freq_factor", 1.0},
                               {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 16}};
  EXPECT_EQ(with_config("rope_parameters", good), "accepted");
  for (const auto& [key, value] :
       std::map<std::string, nlohmann::json>{{"factor", 0.5},
                                             {"low_freq_factor", 4.0},
                                             {"original_max_position_embeddings", 0},
                                             {"high_freq_factor", "many"},
                                             {"attention_factor", 2.0}}) {
    nlohmann::json bad = good;
    bad[key] = value;
    const std::string message = with_config("rope_parameters", bad);
    EXPECT_NE(message.find(key == "factor" ? "scaling factor" : key), std::string::npos) << message;
  }
}

TEST_F(HuggingFaceTest, WritesTheTemperature) {
  const std::string out = dir_ + "/out";
  save_model(load_model(dir_), out, 1.375);
  auto generation = nlohmann::json::parse(std::ifstream(out + "/generation_config.json"));
  EXPECT_EQ(generation.at("temperature").get<double>(), 1.375);
  EXPECT_EQ(generation.at("do_sample").get<bool>(), true);
  generation["top_k"] = 20;
  std::ofstream(out + "/generation_config.json") << generation.dump();
  write_generation_config(out, 2.5);
  generation = nlohmann::json::parse(std::ifstream(out + "/generation_config.json"));
  EXPECT_EQ(generation.at("temperature").get<double>(), 2.5);
  // What a person set there stays.
  EXPECT_EQ(generation.at("top_k").get<int>(), 20);
}

TEST_F(HuggingFaceTest, SaysWhereItCannotWrite) {
  std::ofstream(dir_ + "/file") << "x";
  try {
    save_model(load_model(dir_), dir_ + "/file/below");
    FAIL() << "wrote below a file";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find(dir_ + "/file/below"), std::string::npos);
  }
}

}  // namespace
}  // namespace temper
