// temper generate as a user runs it: files of prompts, ranks, beams, stop strings, lengths.
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <numeric>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

using Ids = std::vector<int>;

// A model of 61 ids, read as bytes, whose texts are known: those that transformers made of 20
// prompts (tests/peers/make_generation.py).
class GenerateTest : public testing::Test {
 protected:
  GenerateTest() {
    const std::string tests = std::string(TEMPER_SOURCE_DIR) + "/tests/model/";
    fs::copy(tests + "golden/llama", model_);
    golden_ = nlohmann::json::parse(read_text(tests + "golden_generation/generation.json"));
  }

  // The ids of golden texts, ends included.
  std::vector<Ids> texts(const std::string& way) const {
    return golden_.at("families").at("llama").at(way).at("texts").get<std::vector<Ids>>();
  }
  static std::string bytes(const Ids& ids) { return {ids.begin(), ids.end()}; }

  void set_decoding(const nlohmann::json& settings) const {
    write_text(model_ + "/generation_config.json", settings.dump());
  }

  // Golden prompts by their numbers, as a file.
  std::string prompts(const std::vector<size_t>& numbers) const {
    std::string lines;
    for (const size_t number : numbers) {
      nlohmann::json line;
      line["prompt"] = bytes(golden_.at("prompts").at(number).get<Ids>());
      lines += line.dump() + "\n";
    }
    write_text(scratch_ / "prompts.jsonl", lines);
    return scratch_ / "prompts.jsonl";
  }
  std::string all_prompts() const {
    std::vector<size_t> numbers(golden_.at("prompts").size());
    std::iota(numbers.begin(), numbers.end(), size_t{0});
    return prompts(numbers);
  }

  Outcome generate(const Arguments& more, int ranks = 0) const {
    return launch(Arguments{"generate", "--model.path", model_, "--generate.tokenizer", "bytes",
                            "--run.threads", "1"} +
                      more,
                  ranks);
  }
  nlohmann::json results(const Arguments& more, int ranks = 0) const {
    const Outcome outcome = generate(more + Arguments{"--json"}, ranks);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out).at("results");
  }

  const ScratchDir scratch_;
  const std::string model_ = scratch_ / "model";
  nlohmann::json golden_;
};

TEST_F(GenerateTest, TwoRanksWriteWhatOneWrites) {
  const std::map<std::string, Arguments> ways = {
      {"greedy", {}},
      {"beams, early",
       {"--generate.beams", "3", "--generate.early-stopping", "true", "--generate.length-penalty",
        "2"}}};
  for (const auto& [way, options] : ways) {
    set_decoding({{"eos_token_id", golden_.at("cases").at(way).value("eos_token_id", Ids{0})}});
    const Arguments many =
        options + Arguments{"--generate.prompts",        all_prompts(), "--generate.batch", "3",
                            "--generate.max-new-tokens", "20"};
    const nlohmann::json alone = results(many);
    const std::vector<Ids> wanted = texts(way);
    ASSERT_EQ(alone.size(), wanted.size()) << way;
    for (size_t i = 0; i < wanted.size(); ++i)
      EXPECT_EQ(alone[i].at("texts").at(0).at("tokens").get<Ids>(), wanted[i]) << way << " " << i;
    EXPECT_EQ(results(many, 2), alone) << way;
  }
}

TEST_F(GenerateTest, APromptALine) {
  // The prompts 0 and 12 are one printable byte each.
  write_text(scratch_ / "prompts.txt", "8\r\n\n*\n");
  const std::string wanted =
      "[1] 8" + bytes(texts("greedy")[0]) + "\n[2] *" + bytes(texts("greedy")[12]) + "\n";
  for (const int ranks : {0, 2}) {
    const Outcome outcome = generate({"--generate.prompts", scratch_ / "prompts.txt",
                                      "--generate.batch", "1", "--generate.max-new-tokens", "20"},
                                     ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(outcome.out, wanted);
  }
}

TEST_F(GenerateTest, AStopStringEndsTheText) {
  const std::string stop = "(\"";  // the ids 40 and 34
  const Arguments options = {"--generate.stop", stop, "--generate.max-new-tokens", "20"};
  const nlohmann::json found = results(options + Arguments{"--generate.prompts", all_prompts()});
  const std::vector<Ids> whole = texts("greedy");
  ASSERT_EQ(found.size(), whole.size());
  size_t stopped = 0;
  for (size_t i = 0; i < whole.size(); ++i) {
    const nlohmann::json& text = found[i].at("texts").at(0);
    const bool ended = whole[i].back() == 0;  // an end gives no text
    const std::string all = bytes({whole[i].begin(), whole[i].end() - (ended ? 1 : 0)});
    const size_t at = all.find(stop);
    const bool stops = at != std::string::npos;
    stopped += stops ? 1 : 0;
    EXPECT_EQ(text.at("text").get<std::string>(), all.substr(0, at)) << i;
    EXPECT_EQ(text.at("finish"), stops ? "stop" : ended ? "end" : "length") << i;
    EXPECT_EQ(text.at("tokens").size(), stops ? at + stop.size() : whole[i].size()) << i;
  }
  EXPECT_GT(stopped, 0u);
  EXPECT_LT(stopped, whole.size());

  // On the screen, where a text appears as it is made.
  const Outcome shown = generate(options + Arguments{"--generate.prompt", "8"});
  EXPECT_EQ(shown.code, 0) << shown.err;
  const std::string first = bytes(whole[0]);
  ASSERT_NE(first.find(stop), std::string::npos);
  EXPECT_EQ(shown.out, first.substr(0, first.find(stop)) + "\n");
}

// max_length counts the prompt, too.
TEST_F(GenerateTest, APromptThatIsLongEnoughLeavesTheOthersTheirTokens) {
  set_decoding({{"eos_token_id", 0}, {"max_length", 10}});
  const std::vector<size_t> numbers = {11, 0, 9, 3};  // of 12, 1, 10 and 4 tokens
  const nlohmann::json found = results({"--generate.prompts", prompts(numbers)});
  ASSERT_EQ(found.size(), numbers.size());
  for (size_t i = 0; i < numbers.size(); ++i) {
    const nlohmann::json& text = found[i].at("texts").at(0);
    const size_t length = found[i].at("prompt_tokens").size();
    Ids wanted = texts("greedy")[numbers[i]];
    wanted.resize(length < 10 ? 10 - length : 0);
    EXPECT_EQ(text.at("tokens").get<Ids>(), wanted) << length;
    EXPECT_EQ(text.at("text").get<std::string>(), bytes(wanted)) << length;
    EXPECT_EQ(text.at("finish"), "length") << length;
  }
  const nlohmann::json none = results({"--generate.prompts", prompts({11, 9})});
  for (const nlohmann::json& each : none) EXPECT_TRUE(each.at("texts").at(0).at("tokens").empty());
}

}  // namespace
}  // namespace temper
