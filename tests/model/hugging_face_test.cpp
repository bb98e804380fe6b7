// Hugging Face folders that are incomplete, wrong or hostile.
#include "model/hugging_face.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

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
  const std::string dir_ = testing::TempDir() + "temper-folder";
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

TEST_F(HuggingFaceTest, WritesTheTemperature) {
  const std::string out = testing::TempDir() + "temper-out";
  save_model(load_model(dir_), out, 1.375);
  auto generation = nlohmann::json::parse(std::ifstream(out + "/generation_config.json"));
  EXPECT_EQ(generation.at("temperature").get<double>(), 1.375);
  EXPECT_EQ(generation.at("do_sample").get<bool>(), true);
  write_generation_config(out, 2.5);
  generation = nlohmann::json::parse(std::ifstream(out + "/generation_config.json"));
  EXPECT_EQ(generation.at("temperature").get<double>(), 2.5);
}

TEST_F(HuggingFaceTest, SaysWhereItCannotWrite) {
  std::ofstream(testing::TempDir() + "temper-file") << "x";
  try {
    save_model(load_model(dir_), testing::TempDir() + "temper-file/below");
    FAIL() << "wrote below a file";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("temper-file/below"), std::string::npos);
  }
}

}  // namespace
}  // namespace temper
