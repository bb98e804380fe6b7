// Token files from ids to ids, Megatron's index damaged in every field, and tokenizing on any
// number of threads.
#include "data/token_writer.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <numeric>

#include "data/token_file.h"
#include "data/tokenize_files.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

class TokenWriterTest : public testing::Test {
 protected:
  void SetUp() override { fs::create_directories(dir_); }
  void TearDown() override { fs::remove_all(dir_); }

  static std::string content(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// Ids 0, 1, 2 ... in documents of 7 and the rest.
  void write_ids(const std::string& path, TokenFormat format, int64_t vocab, int32_t count) const {
    std::vector<int32_t> ids(static_cast<size_t>(count));
    std::iota(ids.begin(), ids.end(), 0);
    TokenWriter writer(path, format, vocab);
    const std::span<const int32_t> all(ids);
    writer.write(all.subspan(0, 3));
    writer.write(all.subspan(3, 4));
    writer.end_document();
    writer.write(all.subspan(7));
    writer.end_document();
    writer.commit();
    EXPECT_EQ(writer.documents(), 2);
    EXPECT_EQ(writer.tokens(), count);
  }

  const std::string dir_ =
      (fs::temp_directory_path() / ("temper-writer-" + std::to_string(getpid()))).string();
};

TEST_F(TokenWriterTest, WhatIsThereIsRefusedByName) {
  const auto said = [&](const std::string& name, TokenFormat format) -> std::string {
    try {
      check_no_token_file(dir_ + "/" + name, format, "tokenize.output");
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  };
  const auto there = [&](const std::string& name) {
    return "--tokenize.output " + dir_ + "/" + name +
           ": this file is there already; remove it, or name another";
  };
  EXPECT_EQ(said("ids.npy", TokenFormat::kNpy), "accepted");
  write_ids(dir_ + "/ids.npy", TokenFormat::kNpy, 300, 100);
  EXPECT_EQ(said("ids.npy", TokenFormat::kNpy), there("ids.npy"));
  EXPECT_EQ(said("ids", TokenFormat::kMegatron), "accepted");
  write_ids(dir_ + "/ids", TokenFormat::kMegatron, 300, 100);
  for (const char* name : {"ids", "ids.bin", "ids.idx"})
    EXPECT_EQ(said(name, TokenFormat::kMegatron), there("ids.bin"));
  fs::remove(dir_ + "/ids.bin");  // of another job, perhaps
  EXPECT_EQ(said("ids", TokenFormat::kMegatron), there("ids.idx"));
}

TEST_F(TokenWriterTest, WhatIsWrittenIsRead) {
  const std::vector<std::pair<TokenFormat, std::string>> formats = {
      {TokenFormat::kNpy, "NumPy"},
      {TokenFormat::kLlmc, "llm.c"},
      {TokenFormat::kMegatron, "Megatron"}};
  for (const auto& [format, name] : formats) {
    for (const auto& [vocab, type] :
         std::vector<std::pair<int64_t, std::string>>{{65536, "2"}, {65537, "4"}}) {
      const std::string path = dir_ + "/" + name + type;
      write_ids(path, format, vocab, 1000);
      const std::unique_ptr<TokenFile> file = TokenFile::open(path, vocab, 0.1, 0.1);
      EXPECT_NE(file->describe().find(name), std::string::npos) << file->describe();
      const Batch test = file->read(Part::kTest, 0, 0, 3, 20);  // the last 100 of 1000 ids
      EXPECT_TRUE(at::equal(test.tokens.reshape(-1), at::arange(900, 960))) << path;
      for (const char* ending : {".bin", ".idx"}) {
        if (format != TokenFormat::kMegatron) continue;
        EXPECT_EQ(TokenFile::open(path + ending, vocab, 0.1, 0.1)->fingerprint(),
                  file->fingerprint());
      }
    }
  }
}

TEST_F(TokenWriterTest, NothingAppearsBeforeTheCommit) {
  const std::string path = dir_ + "/ids.npy";
  {
    TokenWriter writer(path, TokenFormat::kNpy, 100);
    const std::vector<int32_t> ids{1, 2, 3};
    writer.write(ids);
  }
  EXPECT_TRUE(fs::is_empty(dir_));
}

TEST_F(TokenWriterTest, ADamagedMegatronIndexIsRefused) {
  const std::string path = dir_ + "/ids";
  write_ids(path, TokenFormat::kMegatron, 5000, 1000);
  const std::string index = content(path + ".idx");
  // magic 9, version 8, dtype 1, sequences 8, entries 8, lengths 2·4, pointers 2·8, documents 3·8
  ASSERT_EQ(index.size(), 34u + 8 + 16 + 24);
  const auto refused = [&](const std::string& changed) {
    std::ofstream(path + ".idx", std::ios::binary) << changed;
    try {
      TokenFile::open(path, 5000, 0.1, 0.1);
    } catch (const c10::ValueError& error) {
      return std::string(error.what_without_backtrace()).find("ids.idx") != std::string::npos;
    }
    return false;
  };
  EXPECT_FALSE(refused(index));
  for (size_t length = 0; length < index.size(); length += 5)
    EXPECT_TRUE(refused(index.substr(0, length))) << length;
  for (const size_t at : {0, 9, 17, 18, 26, 34, 38, 42, 50}) {
    for (const char value : {'\x7f', '\xff'}) {
      std::string changed = index;
      changed[at] = value;
      EXPECT_TRUE(refused(changed)) << at;
    }
  }
  std::ofstream(path + ".idx", std::ios::binary) << index;
  fs::resize_file(path + ".bin", 1998);
  EXPECT_THROW(TokenFile::open(path, 5000, 0.1, 0.1), c10::ValueError);
}

TEST_F(TokenWriterTest, ThreadsChangeNothing) {
  const std::string text = dir_ + "/text.jsonl";
  {
    std::ofstream file(text);
    for (int i = 0; i < 30000; ++i)
      file << "{\"n\": " << i << ", \"text\": \"document " << i * 7919 % 1000 << " caf\u00e9\"}\n";
  }
  const std::unique_ptr<Tokenizer> tokenizer =
      open_tokenizer(std::string(TEMPER_SOURCE_DIR) + "/tests/data/golden/gpt2", "t");
  std::string first;
  for (const int threads : {1, 2, 5}) {
    const std::string path = dir_ + "/out" + std::to_string(threads);
    TokenWriter writer(path, TokenFormat::kMegatron, tokenizer->vocab());
    TokenizeJob job;
    job.sources = {{.path = text, .jsonl = true, .field = "text", .separator = ""}};
    job.option = "tokenize.input";
    job.end_of_document = tokenizer->end_of_document();
    job.threads = threads;
    const TokenizeCounts counts = tokenize_files(job, *tokenizer, writer, [](int64_t) {});
    writer.commit();
    EXPECT_EQ(counts.documents, 30000);
    const std::string all = content(path + ".idx") + content(path + ".bin");
    if (first.empty()) first = all;
    EXPECT_TRUE(all == first) << threads;
  }
  EXPECT_GT(first.size(), 200000u);
}

}  // namespace
}  // namespace temper
