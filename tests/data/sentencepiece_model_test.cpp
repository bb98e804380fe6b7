// Models whose table of characters is damaged must not reach the library, which trusts it.
#include "data/sentencepiece_model.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "data/sentencepiece.h"
#include "tests/data/sentencepiece_example.h"

namespace temper {
namespace {

std::string scratch_file() {
  return testing::TempDir() + "temper-" + std::to_string(getpid()) + ".model";
}

/// Why the model is refused; "opened" where it is not, and encodes a text.
std::string refusal(const std::string& model) {
  const std::string path = scratch_file();
  std::ofstream(path, std::ios::binary) << model;
  std::string message = "opened";
  try {
    open_sentencepiece(path, "data.tokenizer")
        ->encode("the 12th \xef\xac\x81 \xe2\x91\xa0 of them");
  } catch (const c10::ValueError& error) {
    message = error.what_without_backtrace();
  }
  std::filesystem::remove(path);
  return message;
}

TEST(SentencePieceModelTest, TellsWhatAModelDoesToText) {
  const Normalizer nfkc = read_normalizer(nfkc_model("unigram"), "x");
  EXPECT_TRUE(nfkc.changes_characters);
  EXPECT_TRUE(nfkc.removes_spaces);
  const std::string path = scratch_file();
  std::string text;
  for (int i = 0; i < 2000; ++i) text += "the " + std::to_string(i * i) + "th of them\n";
  train_sentencepiece(text, 300, path);
  std::ifstream file(path, std::ios::binary);
  const std::string own(std::istreambuf_iterator<char>(file), {});
  std::filesystem::remove(path);
  EXPECT_FALSE(read_normalizer(own, "x").changes_characters);
  EXPECT_FALSE(read_normalizer(own, "x").removes_spaces);
}

TEST(SentencePieceModelTest, ADamagedTableIsRefused) {
  const std::string model = nfkc_model("unigram");
  EXPECT_EQ(refusal(model), "opened");
  ASSERT_GT(model.size(), 100'000u);  // nearly all of it is the table
  int refused = 0;
  const size_t kStep = 4099;  // so that all places within a unit come up
  int tried = 0;
  for (size_t at = 2000; at + 2000 < model.size(); at += kStep, ++tried) {
    std::string damaged = model;
    // A unit whose offset leads far out of the trie.
    std::memset(damaged.data() + at, 0x7F, 16);
    refused += refusal(damaged).find("table of characters") != std::string::npos;
  }
  EXPECT_GT(tried, 20);
  EXPECT_GT(refused, tried / 2) << "of " << tried;  // the rest lies in the texts
}

// One of these is the unit at which every search begins. Were it let through, the library (0.1.97)
// would end the program with a segmentation fault.
TEST(SentencePieceModelTest, AUnitThatLeadsOutOfTheTableIsRefused) {
  const std::string model = nfkc_model("unigram");
  const uint32_t far = 0x7ffffe00;
  int refused = 0;
  for (size_t at = 300; at < 800; ++at) {
    std::string damaged = model;
    std::memcpy(damaged.data() + at, &far, sizeof far);
    refused += refusal(damaged).find("table of characters") != std::string::npos;
  }
  EXPECT_GT(refused, 50);
}

TEST(SentencePieceModelTest, ATruncatedModelIsRefused) {
  const std::string model = nfkc_model("unigram");
  for (const size_t size : {size_t{1}, size_t{7}, size_t{1000}, model.size() / 2, model.size() - 1})
    EXPECT_NE(refusal(model.substr(0, size)), "opened") << size;
  // A number that does not end, and a group, which no such model has.
  EXPECT_NE(refusal(model + "\x80"), "opened");
  EXPECT_NE(refusal(std::string("\x0b\x0c") + model), "opened");
}

}  // namespace
}  // namespace temper
