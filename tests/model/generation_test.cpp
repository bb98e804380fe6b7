// Decoding against transformers, token for token: the texts that tests/peers/make_generation.py
// made from the golden models.
#include "model/generation.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

#include "model/hugging_face.h"

namespace temper {
namespace {

using nlohmann::json;

std::string golden(const std::string& name) {
  return std::string(TEMPER_SOURCE_DIR) + "/tests/model/" + name;
}

const json& kept() {
  static const json value = json::parse(std::ifstream(golden("golden_generation/generation.json")));
  return value;
}

Decoding decoding_of(const json& settings) {
  Decoding decoding;
  decoding.max_new_tokens = kept()["new_tokens"];
  decoding.eos_token_id = settings.value("eos_token_id", std::vector<int64_t>{0});
  decoding.repetition_penalty = settings.value("repetition_penalty", 1.0);
  decoding.no_repeat_ngram_size = settings.value("no_repeat_ngram_size", 0);
  decoding.min_new_tokens = settings.value("min_new_tokens", 0);
  decoding.num_beams = settings.value("num_beams", 1);
  decoding.num_return_sequences = settings.value("num_return_sequences", 1);
  decoding.length_penalty = settings.value("length_penalty", 1.0);
  const json early = settings.value("early_stopping", json(false));
  decoding.early_stopping = early == "never" ? EarlyStopping::kNever
                            : early == true  ? EarlyStopping::kTrue
                                             : EarlyStopping::kFalse;
  return decoding;
}

class GenerationTest : public testing::TestWithParam<const char*> {
 protected:
  GenerationTest()
      : model_(load_model(golden(std::string("golden/") + GetParam()))),
        decoder_(model_, at::kFloat),
        prompts_(kept()["prompts"].get<std::vector<TokenIds>>()) {}

  std::vector<Continuation> all(const Decoding& decoding, uint64_t seed = 1) const {
    return generate(decoder_, {prompts_, 0, seed}, decoding);
  }

  const Transformer model_;
  const Decoder decoder_;
  const std::vector<TokenIds> prompts_;
};

TEST_P(GenerationTest, TextsAreThoseOfTransformersTokenForToken) {
  ASSERT_EQ(prompts_.size(), 20u);
  for (const auto& [name, wanted] : kept()["families"][GetParam()].items()) {
    SCOPED_TRACE(name);
    const Decoding decoding = decoding_of(kept()["cases"][name]);
    const std::vector<Continuation> ours = all(decoding);
    const auto texts = wanted["texts"].get<std::vector<TokenIds>>();
    ASSERT_EQ(ours.size(), texts.size());
    for (size_t i = 0; i < texts.size(); ++i) {
      EXPECT_EQ(ours[i].tokens, texts[i]) << "text " << i;
      const std::vector<int64_t>& ends = decoding.eos_token_id;
      const bool ended = std::find(ends.begin(), ends.end(), texts[i].back()) != ends.end();
      EXPECT_EQ(ours[i].finish, ended ? Finish::kEnd : Finish::kLength);
      if (wanted.contains("scores")) {
        const double score = wanted["scores"][i];
        EXPECT_NEAR(ours[i].score, score, 1e-5 + 1e-6 * std::abs(score));
      }
    }
  }
}

TEST_P(GenerationTest, APromptAloneGivesTheSameAsInABatch) {
  for (const char* name : {"greedy", "greedy, penalties", "beams, early"}) {
    const Decoding decoding = decoding_of(kept()["cases"][name]);
    const std::vector<Continuation> together = all(decoding);
    for (size_t i = 0; i < prompts_.size(); ++i) {
      const PromptBatch one = {{prompts_[i]}, i, 1};
      EXPECT_EQ(generate(decoder_, one, decoding)[0].tokens, together[i].tokens) << name << i;
    }
  }
}

TEST_P(GenerationTest, DrawsDependOnSeedPromptAndStepOnly) {
  Decoding decoding;
  decoding.do_sample = true;
  decoding.max_new_tokens = 12;
  decoding.num_return_sequences = 2;
  const std::vector<Continuation> together = all(decoding), again = all(decoding);
  const int threads = at::get_num_threads();
  at::set_num_threads(2);
  const std::vector<Continuation> threaded = all(decoding);
  at::set_num_threads(threads);
  int differing = 0;
  for (size_t i = 0; i < prompts_.size(); ++i) {
    const PromptBatch one = {{prompts_[i]}, i, 1};
    const std::vector<Continuation> alone = generate(decoder_, one, decoding);
    for (size_t copy = 0; copy < 2; ++copy) {
      EXPECT_EQ(alone[copy].tokens, together[2 * i + copy].tokens);
      EXPECT_EQ(again[2 * i + copy].tokens, together[2 * i + copy].tokens);
      EXPECT_EQ(threaded[2 * i + copy].tokens, together[2 * i + copy].tokens);
    }
    differing += alone[0].tokens != alone[1].tokens;
  }
  EXPECT_EQ(differing, 20);
  EXPECT_NE(all(decoding, 2)[0].tokens, together[0].tokens);
}

TEST_P(GenerationTest, TheCallerMayStopAText) {
  Decoding decoding = decoding_of(json::object());
  decoding.eos_token_id = {};
  const std::vector<Continuation> whole = all(decoding);
  std::vector<size_t> calls(20, 0);
  const std::vector<Continuation> cut =
      generate(decoder_, {prompts_, 0, 1}, decoding,
               [&](size_t text, int64_t) { return ++calls[text] == text % 5 + 1; });
  for (size_t i = 0; i < cut.size(); ++i) {
    EXPECT_EQ(cut[i].finish, Finish::kStop);
    EXPECT_EQ(cut[i].tokens, TokenIds(whole[i].tokens.begin(),
                                      whole[i].tokens.begin() + static_cast<int64_t>(i % 5) + 1));
  }
}

TEST_P(GenerationTest, LengthsAndPositions) {
  Decoding decoding = decoding_of(json::object());
  decoding.eos_token_id = {};
  decoding.max_new_tokens = 1000;  // more than the model has positions
  for (const Continuation& text : generate(decoder_, {{{1, 2, 3}, {4}}, 0, 1}, decoding)) {
    EXPECT_EQ(text.finish, Finish::kLength);
  }
  EXPECT_EQ(generate(decoder_, {{{1, 2, 3}}, 0, 1}, decoding)[0].tokens.size(), 37u);
  EXPECT_EQ(generate(decoder_, {{{1, 2, 3}, {4}}, 0, 1}, decoding)[1].tokens.size(), 39u);
  decoding.max_length = 8;
  EXPECT_EQ(generate(decoder_, {{{1, 2, 3}}, 0, 1}, decoding)[0].tokens.size(), 5u);
  // A prompt that is as long already gets nothing, and the others what they get alone.
  const TokenIds full(8, 5), longer(12, 5);
  const std::vector<Continuation> mixed =
      generate(decoder_, {{full, {1, 2, 3}, longer, {4}}, 0, 1}, decoding);
  for (const size_t none : {0, 2}) {
    EXPECT_TRUE(mixed[none].tokens.empty());
    EXPECT_EQ(mixed[none].finish, Finish::kLength);
  }
  EXPECT_EQ(mixed[1].tokens, generate(decoder_, {{{1, 2, 3}}, 1, 1}, decoding)[0].tokens);
  EXPECT_EQ(mixed[3].tokens, generate(decoder_, {{{4}}, 3, 1}, decoding)[0].tokens);
  EXPECT_THROW(generate(decoder_, {{TokenIds(40, 1)}, 0, 1}, decoding), c10::ValueError);
  EXPECT_THROW(generate(decoder_, {{{61}}, 0, 1}, decoding), c10::ValueError);
  EXPECT_THROW(generate(decoder_, {{{}}, 0, 1}, decoding), c10::ValueError);
}

INSTANTIATE_TEST_SUITE_P(Families, GenerationTest,
                         testing::Values("gpt2", "llama", "llama_tied", "mistral", "qwen2",
                                         "qwen3"));

}  // namespace
}  // namespace temper
