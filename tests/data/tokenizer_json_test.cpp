// Byte-level BPE against ids that Hugging Face's tokenizers gave: tests/peers/make_tokenizers.py.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "data/tokenizer.h"
#include "data/tokenizer_files.h"
#include "data/utf8.h"

namespace temper::tokenizer_json_test {
namespace {

std::string golden() {
  std::string path = TEMPER_SOURCE_DIR;
  path += "/tests/data/golden/";
  return path;
}

std::string scratch_file() {
  return testing::TempDir() + "temper-tokenizer-" + std::to_string(getpid()) + ".json";
}

std::string bytes_of(const std::string& hex) {
  std::string bytes;
  for (size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
  return bytes;
}

std::string refusal(const std::function<void(nlohmann::ordered_json&)>& change) {
  auto json = nlohmann::ordered_json::parse(std::ifstream(golden() + "gpt2/tokenizer.json"));
  change(json);
  const std::string path = scratch_file();
  std::ofstream(path) << json.dump();
  std::string message = "accepted";
  try {
    open_tokenizer(path, "data.tokenizer");
  } catch (const c10::ValueError& error) {
    message = error.what_without_backtrace();
  }
  std::filesystem::remove(path);
  return message;
}

class TokenizerJsonTest : public testing::TestWithParam<const char*> {};

TEST_P(TokenizerJsonTest, IdsAreThoseOfTokenizers) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(golden() + GetParam(), "t");
  const auto cases = nlohmann::json::parse(std::ifstream(golden() + "cases.json")).at("cases");
  ASSERT_GE(cases.size(), 20u);
  size_t tokens = 0;
  for (const auto& each : cases) {
    const std::string text = bytes_of(each.at("hex"));
    const std::vector<int32_t> ids = tokenizer->encode(text);
    EXPECT_EQ(ids, each.at(GetParam()).get<std::vector<int32_t>>()) << text;
    tokens += ids.size();
    // NFC changes the text, the flags of added tokens swallow spaces around them, and what is no
    // UTF-8 has become U+FFFD.
    const bool keeps = std::string(GetParam()) == "gpt2" || std::string(GetParam()) == "llama3";
    if (keeps && find_invalid_utf8(text) == std::string_view::npos) {
      EXPECT_EQ(tokenizer->decode_all(ids), text);
    }
  }
  EXPECT_GT(tokens, 1000u);
}

INSTANTIATE_TEST_SUITE_P(Kinds, TokenizerJsonTest,
                         testing::Values("gpt2", "llama3", "qwen2", "flags"));

TEST(TokenizerJsonTest, RefusesOtherKindsByName) {
  EXPECT_EQ(refusal([](auto&) {}), "accepted");
  for (const char* type : {"Unigram", "WordPiece", "WordLevel"}) {
    const std::string message = refusal([&](auto& json) { json["model"]["type"] = type; });
    EXPECT_NE(message.find(type), std::string::npos) << message;
  }
  EXPECT_NE(refusal([](auto& json) { json["model"]["byte_fallback"] = true; }), "accepted");
  EXPECT_NE(refusal([](auto& json) { json["model"]["vocab"]["new"] = -1; }), "accepted");
  // Tables are as long as the largest id: one that the file is far too small for is none.
  EXPECT_NE(refusal([](auto& json) { json["model"]["vocab"]["new"] = 507541; }).find("507541"),
            std::string::npos);
  EXPECT_NE(refusal([](auto& json) { json["model"]["merges"].push_back("no_such pair"); }),
            "accepted");
  EXPECT_NE(refusal([](auto& json) {
              json["pre_tokenizer"] = {{"type", "Metaspace"}};
            }),
            "accepted");
}

// The file that goes beside a model of bytes is itself a tokenizer whose ids are the bytes.
TEST(TokenizerJsonTest, TheFileForBytesGivesBytes) {
  const std::string path = scratch_file();
  std::ofstream(path) << byte_tokenizer_json();
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(path, "t");
  std::filesystem::remove(path);
  EXPECT_EQ(tokenizer->vocab(), 256);
  const std::string text = "caf\u00e9,\t \U0001F389\r\n  x";
  const std::vector<int32_t> ids = tokenizer->encode(text);
  EXPECT_EQ(ids, make_byte_tokenizer()->encode(text));
  EXPECT_EQ(tokenizer->decode(ids), text);
  // A long text may be cut between any two characters, also where it is no UTF-8.
  for (const std::string& whole :
       {text, std::string("\xe2\x82 \x80\x80\x80\x80\x80 \xf0\x9f\xff")}) {
    for (size_t from = 1; from < whole.size(); ++from) {
      const size_t at = tokenizer->next_cut(whole, from);
      EXPECT_LE(at, from + 3);
      std::vector<int32_t> parts = tokenizer->encode(std::string_view(whole).substr(0, at));
      const std::vector<int32_t> rest = tokenizer->encode_rest(std::string_view(whole).substr(at));
      parts.insert(parts.end(), rest.begin(), rest.end());
      EXPECT_EQ(parts, tokenizer->encode(whole)) << from;
    }
  }
}

}  // namespace
}  // namespace temper::tokenizer_json_test
