// Texts by bytes and by SentencePiece, in one process with LibTorch (both carry protobuf).
#include "data/text_corpus.h"
#include "data/sentencepiece.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "data/data_config.h"
#include "data/utf8.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

class TextCorpusTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }
  std::string write(const std::string& name, const std::string& text) {
    std::ofstream(dir_ + "/" + name, std::ios::binary) << text;
    return dir_ + "/" + name;
  }
  std::string dir_ =
      (fs::temp_directory_path() / ("temper-text-" + std::to_string(getpid()))).string();
};

std::string sample() {
  std::string text;
  for (int i = 0; i < 3000; ++i) {
    text += "The " + std::to_string(i * 37 % 101) +
            " ships sailed past, and nobody saw them but the keeper of light " +
            std::to_string(i % 13) + ".\n";
  }
  return text + "Zürich, 東京 \t and a smile: 😀\r\n";
}

TEST_F(TextCorpusTest, BytesAreIds) {
  DataConfig config;
  config.source = "text";
  config.text = write("a.txt", sample());
  const std::unique_ptr<Corpus> corpus = open_corpus(config, dir_, true);
  EXPECT_EQ(corpus->vocab(), 256);
  EXPECT_EQ(corpus->tokenizer_file(), "bytes");
  const Batch first = corpus->read(Part::kTest, 0, 0, 1, 30);
  const std::string text = sample();
  const size_t begin = text.size() - static_cast<size_t>(static_cast<double>(text.size()) * 0.05);
  for (int64_t s = 0; s < 30; ++s)
    EXPECT_EQ(first.tokens[0][s].item<int64_t>(),
              static_cast<unsigned char>(text[begin + static_cast<size_t>(s)]));
}

TEST_F(TextCorpusTest, SentencePieceIsTrainedOnceAndGivesTheTextBack) {
  DataConfig config;
  config.source = "text";
  config.text = write("a.txt", sample());
  config.tokenizer = "sentencepiece";
  config.vocab = 320;
  EXPECT_THROW(open_corpus(config, dir_, false), c10::ValueError);  // rank 0 has not made it
  const std::unique_ptr<Corpus> corpus = open_corpus(config, dir_, true);
  const std::unique_ptr<Corpus> other = open_corpus(config, dir_, false);
  EXPECT_EQ(corpus->vocab(), 320);
  EXPECT_EQ(corpus->fingerprint(), other->fingerprint());
  EXPECT_EQ(corpus->tokenizer_file(), dir_ + "/tokenizer.model");
  const std::unique_ptr<Tokenizer> tokenizer =
      open_sentencepiece(dir_ + "/tokenizer.model", "data.tokenizer");
  for (const std::string& text : {sample(), std::string("  two  spaces\n\n\nand\ttabs "),
                                  std::string("\xf0\x9f\x8e\x89 unseen Ω")}) {
    EXPECT_EQ(tokenizer->decode(encode_text(*tokenizer, text)), text);
  }
  EXPECT_LT(encode_text(*tokenizer, sample()).size(), sample().size() * 6 / 10);

  config.tokenizer = dir_ + "/tokenizer.model";
  config.vocab = 0;
  EXPECT_EQ(open_corpus(config, "", false)->fingerprint(), corpus->fingerprint());
  config.vocab = 321;
  EXPECT_THROW(open_corpus(config, "", false), c10::ValueError);
}

// A document is encoded in portions that end with lines: the ids are those of its lines.
TEST_F(TextCorpusTest, ALongDocumentIsItsLinesOneAfterTheOther) {
  train_sentencepiece(sample(), 320, dir_ + "/tokenizer.model");
  const std::unique_ptr<Tokenizer> tokenizer =
      open_sentencepiece(dir_ + "/tokenizer.model", "data.tokenizer");
  std::string text;
  while (text.size() < 50000) text += sample().substr(0, 5000) + " two  spaces\n\n";
  std::vector<int32_t> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
    const std::vector<int32_t> line = tokenizer->encode(text.substr(begin, end - begin));
    lines.insert(lines.end(), line.begin(), line.end());
    begin = end;
  }
  EXPECT_EQ(tokenizer->encode(text), lines);
  EXPECT_EQ(tokenizer->decode(lines), text);
}

TEST_F(TextCorpusTest, TheHeldOutTextDoesNotShapeTheVocabulary) {
  DataConfig config;
  config.source = "text";
  config.tokenizer = "sentencepiece";
  config.vocab = 320;
  const std::string text = sample();
  fs::create_directories(dir_ + "/1");
  fs::create_directories(dir_ + "/2");
  config.text = write("a.txt", text);
  open_corpus(config, dir_ + "/1", true);
  std::string other = text;
  std::fill(other.end() - static_cast<long>(text.size() / 20), other.end(), 'q');
  config.text = write("b.txt", other);
  open_corpus(config, dir_ + "/2", true);
  const auto content = [&](const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  EXPECT_EQ(content(dir_ + "/1/tokenizer.model"), content(dir_ + "/2/tokenizer.model"));
}

TEST_F(TextCorpusTest, PartsAreCutByBytesWhateverTheTokensAre) {
  // Text to train on that one piece covers, held-out text that takes a token a byte: shares of
  // tokens would put the cut elsewhere.
  std::string text;
  while (text.size() < 18000)
    text += "aaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbb cccccccccccccccc dddd " +
            std::to_string(text.size() % 97) + "\n";
  text.resize(18000);
  for (int i = 0; i < 2000; ++i) text += static_cast<char>('A' + i * 7 % 26);
  DataConfig config;
  config.source = "text";
  config.text = write("a.txt", text);
  config.tokenizer = "sentencepiece";
  config.vocab = 300;
  const std::unique_ptr<Corpus> corpus = open_corpus(config, dir_, true);
  const std::unique_ptr<Tokenizer> tokenizer =
      open_sentencepiece(corpus->tokenizer_file(), "data.tokenizer");
  std::string read;
  for (const Part part : {Part::kFit, Part::kTest}) {
    const at::Tensor ids = corpus->read(part, 0, 0, corpus->rows(part, 1), 1)
                               .tokens.to(at::kInt)
                               .reshape(-1);  // (N), all but the last
    read += tokenizer->decode(
        {ids.const_data_ptr<int32_t>(), ids.const_data_ptr<int32_t>() + ids.numel()});
    read += "?";
  }
  ASSERT_EQ(read.size(), 2000u);
  read[999] = text[18999];
  read[1999] = text[19999];
  EXPECT_EQ(read, text.substr(18000));
}

TEST_F(TextCorpusTest, CutsFallBetweenCharacters) {
  std::string text;  // 3-byte characters and no line ends: every cut by bytes alone would hit one
  for (int i = 0; i < 500000; ++i) text += "\xe6\x9d\xb1";
  const auto parts = text_parts(text, 0.1, 0.1);
  EXPECT_EQ(parts[0].size() + parts[1].size() + parts[2].size(), text.size());
  for (const std::string_view part : parts)
    EXPECT_EQ(find_invalid_utf8(part), std::string_view::npos);
  train_sentencepiece(sample(), 300, dir_ + "/small.model");
  const std::unique_ptr<Tokenizer> tokenizer =
      open_sentencepiece(dir_ + "/small.model", "data.tokenizer");
  EXPECT_EQ(tokenizer->decode(encode_text(*tokenizer, text)), text);
}

TEST_F(TextCorpusTest, Utf8IsWhatTheStandardSays) {
  for (const char* good : {"", "a", "\xc2\x80", "\xe0\xa0\x80", "\xed\x9f\xbf", "\xef\xbf\xbf",
                           "\xf0\x90\x80\x80", "\xf4\x8f\xbf\xbf"}) {
    EXPECT_EQ(find_invalid_utf8(good), std::string_view::npos) << good;
  }
  for (const char* bad : {"\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xf5\x80\x80\x80", "\xe6\x9d", "\xe6\x9dz"}) {
    EXPECT_EQ(find_invalid_utf8(std::string("ab") + bad), 2u);
  }
}

TEST_F(TextCorpusTest, BadFilesAndVocabularies) {
  DataConfig config;
  config.source = "text";
  const auto message = [&]() -> std::string {
    try {
      config.validate();
      open_corpus(config, dir_, true);
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  };
  EXPECT_NE(message().find("--data.text is missing"), std::string::npos);
  config.text = dir_;
  EXPECT_NE(message().find("no regular file"), std::string::npos);
  config.text = write("empty.txt", "");
  EXPECT_NE(message().find("empty"), std::string::npos);
  config.text = write("a.txt", "a short text\n");
  config.tokenizer = "sentencepiece";
  config.vocab = 100;
  EXPECT_NE(message().find("--data.vocab is 100"), std::string::npos);
  config.vocab = 50000;
  EXPECT_NE(message().find("--data.vocab 50000"), std::string::npos);
  config.text = write("latin1.txt", "caf\xe9 and more\n");
  EXPECT_NE(message().find("byte 3 is not UTF-8"), std::string::npos);
  config.text = write("a.txt", "a short text\n");
  config.tokenizer = write("no.model", "this is no model");
  EXPECT_NE(message().find("no SentencePiece model"), std::string::npos);
  config.fit_share = 0.7;
  EXPECT_NE(message().find("--data.fit-share is 0.7"), std::string::npos);
}

TEST_F(TextCorpusTest, RealText) {
  const std::string path = std::string(TEMPER_SOURCE_DIR) + "/../shared/data/tinyshakespeare.txt";
  if (!fs::exists(path)) GTEST_SKIP() << "no " << path;
  DataConfig config;
  config.source = "text";
  config.text = path;
  const std::unique_ptr<Corpus> corpus = open_corpus(config, dir_, true);
  EXPECT_GT(corpus->rows(Part::kTrain, 128), 7000);
  EXPECT_GT(corpus->rows(Part::kTest, 128), 400);
}

}  // namespace
}  // namespace temper
