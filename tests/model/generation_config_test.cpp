// Where each decoding setting comes from, and what is refused.
#include "model/generation_config.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace temper {
namespace {

class GenerationConfigTest : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(dir_); }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  void write(const std::string& name, const std::string& text) const {
    std::ofstream(dir_ + "/" + name) << text;
  }

  DecodingSettings read(const std::string& text) {
    write("generation_config.json", text);
    return read_generation_config(dir_, &file_);
  }

  std::string refusal(const std::string& text) {
    try {
      read(text);
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  }

  const std::string dir_ =
      testing::TempDir() + "temper-generation-config-" + std::to_string(getpid());
  std::string file_;
};

std::string contradiction(const DecodingSettings& options, const DecodingSettings& file = {}) {
  try {
    options.validate("");
    resolve_decoding(options, file, "generation_config.json");
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "accepted";
}

TEST_F(GenerationConfigTest, OptionOverFileOverDefault) {
  const DecodingSettings file =
      read(R"({"do_sample": true, "temperature": 0.9612, "top_k": 0, "eos_token_id": [2, 7],
               "bos_token_id": 1, "transformers_version": "5.23.0", "new_field": 3})");
  EXPECT_EQ(file_, "generation_config.json");
  DecodingSettings options;
  options.top_p = 0.5;
  const Decoding decoding = resolve_decoding(options, file, file_);
  EXPECT_TRUE(decoding.do_sample);
  EXPECT_EQ(decoding.temperature, 0.9612);
  EXPECT_EQ(decoding.top_k, 0);
  EXPECT_EQ(decoding.top_p, 0.5);
  EXPECT_EQ(decoding.eos_token_id, (std::vector<int64_t>{2, 7}));
  EXPECT_EQ(decoding.bos_token_id, 1);
  EXPECT_EQ(decoding.describe(),
            "sample true (generation_config.json), temperature 0.9612 (generation_config.json), "
            "top-k 0 (generation_config.json), top-p 0.5 (option), min-p 0 (default), "
            "beams 1 (default), max-new-tokens 128 (default), end 2/7 (generation_config.json)");
}

TEST_F(GenerationConfigTest, WithoutAFileTheIdsOfTheConfigCount) {
  write("config.json", R"({"eos_token_id": 50256, "temperature": 9})");
  const DecodingSettings file = read_generation_config(dir_, &file_);
  EXPECT_EQ(file_, "config.json");
  EXPECT_EQ(file.eos_token_id, std::vector<int64_t>{50256});
  EXPECT_FALSE(file.temperature);
  const Decoding decoding = resolve_decoding({}, file, file_);
  EXPECT_FALSE(decoding.do_sample);
  EXPECT_EQ(decoding.top_k, 50);  // as transformers, where it samples
}

TEST_F(GenerationConfigTest, LengthsOfTheFile) {
  const DecodingSettings file = read(R"({"max_length": 20})");
  EXPECT_EQ(resolve_decoding({}, file, file_).new_tokens(15), 5);
  EXPECT_EQ(resolve_decoding({}, file, file_).new_tokens(25), 0);
  DecodingSettings options;
  options.max_new_tokens = 7;
  EXPECT_EQ(resolve_decoding(options, file, file_).new_tokens(15), 7);
  EXPECT_EQ(resolve_decoding({}, {}, file_).new_tokens(15), 128);
}

TEST_F(GenerationConfigTest, WhatWouldChangeTheTextAndIsNotComputedIsRefused) {
  for (const char* field :
       {R"("typical_p": 0.9)", R"("epsilon_cutoff": 0.01)", R"("guidance_scale": 1.5)",
        R"("suppress_tokens": [1])", R"("penalty_alpha": 0.6)", R"("num_beam_groups": 2)",
        R"("forced_eos_token_id": 2)", R"("renormalize_logits": true)"}) {
    const std::string message = refusal(std::string("{") + field + "}");
    const std::string name = std::string(field).substr(1, std::string(field).find('"', 1) - 1);
    EXPECT_NE(message.find("generation_config.json: " + name), std::string::npos) << message;
  }
  EXPECT_EQ(refusal(R"({"typical_p": 1.0, "epsilon_cutoff": 0.0, "guidance_scale": null,
                        "diversity_penalty": 0.0, "num_beam_groups": 1, "use_cache": true})"),
            "accepted");
}

TEST_F(GenerationConfigTest, ValuesThatAreNone) {
  for (const char* field :
       {R"("temperature": 0)", R"("temperature": -1.0)", R"("top_p": 1.5)", R"("top_k": -1)",
        R"("min_p": 2)", R"("repetition_penalty": 0)", R"("num_beams": 0)",
        R"("num_beams": 100000)", R"("do_sample": 1)", R"("temperature": "warm")",
        R"("top_k": 1.5)", R"("eos_token_id": "end")", R"("eos_token_id": [1.5])",
        R"("early_stopping": "always")", R"("stop_strings": [3])", R"("stop_strings": "")",
        R"("max_new_tokens": 0)"}) {
    const std::string message = refusal(std::string("{") + field + "}");
    const std::string name = std::string(field).substr(1, std::string(field).find('"', 1) - 1);
    EXPECT_NE(message.find("generation_config.json: " + name + " is "), std::string::npos)
        << message;
  }
  for (const char* text : {"", "[]", "{", "{\"a\": 1, \"a\": 2}"}) {
    EXPECT_NE(refusal(text).find("generation_config.json"), std::string::npos);
  }
}

TEST(DecodingTest, OptionsThatAreWrongOrWouldDoNothing) {
  DecodingSettings options;
  options.temperature = 0;
  EXPECT_NE(contradiction(options).find("--generate.temperature is 0"), std::string::npos);
  options.temperature = 0.5;
  EXPECT_NE(contradiction(options).find("--generate.sample true"), std::string::npos);
  options.do_sample = false;  // said so: the temperature may stand in an INI file
  EXPECT_EQ(contradiction(options), "accepted");
  options.do_sample = true;
  EXPECT_EQ(contradiction(options), "accepted");
  options.num_beams = 4;
  EXPECT_NE(contradiction(options).find("beams"), std::string::npos);

  DecodingSettings file;
  file.do_sample = true;
  DecodingSettings beams;
  beams.num_beams = 4;
  EXPECT_NE(contradiction(beams, file).find("sampling (generation_config.json)"),
            std::string::npos);
  DecodingSettings penalty;
  penalty.length_penalty = 2;
  EXPECT_NE(contradiction(penalty).find("--generate.length-penalty"), std::string::npos);
  DecodingSettings many;
  many.num_return_sequences = 3;
  EXPECT_NE(contradiction(many).find("--generate.beams 3"), std::string::npos);
  many.num_beams = 3;
  EXPECT_EQ(contradiction(many), "accepted");
  many.stop_strings = std::vector<std::string>{"x"};
  EXPECT_NE(contradiction(many).find("stop strings"), std::string::npos);
}

}  // namespace
}  // namespace temper
