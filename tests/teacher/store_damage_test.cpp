// A damaged store: each flipped bit and each truncation of its files is found, and the file named.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>

#include "data/checksum.h"
#include "teacher/recorder.h"
#include "teacher/store_shard.h"
#include "teacher/stored_soft_targets.h"
#include "tests/launch/launcher.h"
#include "tests/teacher/store_example.h"

namespace temper {
namespace {

using ::testing::Test;

class DamagedShardTest : public Test {
 protected:
  DamagedShardTest() {
    write_example(index_, dir_.path());
    whole_ = read_text(path_);
  }
  std::string trouble_with(const std::string& bytes) const {
    write_text(path_, bytes);
    return shard_trouble(index_, dir_.path(), shard_);
  }

  ScratchDir dir_;
  StoreIndex index_ = topk_index();
  ShardId shard_{2, 1};
  std::string path_ = dir_ / index_.shard_name(shard_);
  std::string whole_;
};

TEST_F(DamagedShardTest, EveryFlippedBitIsFound) {
  EXPECT_EQ(trouble_with(whole_), "");
  for (size_t at = 0; at < whole_.size(); ++at) {
    std::string bytes = whole_;
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
    const std::string trouble = trouble_with(bytes);
    EXPECT_TRUE(trouble.starts_with(path_ + ": ")) << at << ": " << trouble;
  }
  std::printf("  %zu bytes of a shard flipped, one at a time\n", whole_.size());
}

TEST_F(DamagedShardTest, EveryOtherLengthIsFound) {
  for (size_t length = 0; length < whole_.size(); ++length) {
    const std::string trouble = trouble_with(whole_.substr(0, length));
    EXPECT_TRUE(trouble.find(path_) == 0) << length << ": " << trouble;
  }
  EXPECT_NE(trouble_with(whole_ + '\0'), "");
  EXPECT_NE(trouble_with(whole_ + whole_), "");
  std::filesystem::remove(path_);
  EXPECT_EQ(shard_trouble(index_, dir_.path(), shard_), path_ + ": missing");
}

TEST_F(DamagedShardTest, AShardOfAnotherPlaceOrStoreIsRefused) {
  const std::string neighbour = read_text(dir_ / index_.shard_name({2, 0}));
  EXPECT_NE(trouble_with(neighbour).find("is the shard 2-0"), std::string::npos);
  StoreIndex other = index_;
  other.temperature = 4;
  const ScratchDir elsewhere;
  write_example(other, elsewhere.path());
  const std::string foreign = read_text(elsewhere / index_.shard_name(shard_));
  EXPECT_NE(trouble_with(foreign).find("belongs to another store"), std::string::npos);
}

TEST_F(DamagedShardTest, ATableThatLiesIsRefusedThoughItsChecksumIsRight) {
  const auto resealed = [&](std::string bytes) {
    const size_t covered = bytes.size() - 24;
    const ChecksumBytes seal = checksum(std::string_view(bytes).substr(0, covered));
    std::memcpy(bytes.data() + covered, seal.data(), seal.size());
    return bytes;
  };
  ASSERT_EQ(resealed(whole_), whole_);
  const size_t table = whole_.size() - 32 - static_cast<size_t>(index_.rows_of(shard_)) * 24;
  for (const auto& [at, words] : std::vector<std::pair<size_t, std::string>>{
           {table, "out of place"},                  // a frame's offset
           {table + 8, "out of place"},              // a frame's length
           {table + 15, "out of place"},             // beyond any file
           {whole_.size() - 32, "does not lie"}}) {  // where the table begins
    std::string bytes = whole_;
    bytes[at] = static_cast<char>(bytes[at] ^ 0x41);
    const std::string trouble = trouble_with(resealed(bytes));
    EXPECT_NE(trouble.find(words), std::string::npos) << at << ": " << trouble;
  }
  // A frame that is no frame is found when its row is read.
  std::string bytes = whole_;
  bytes[64] = static_cast<char>(bytes[64] ^ 0x41);
  EXPECT_EQ(trouble_with(resealed(bytes)), "");
  const ShardReader reader(index_, dir_.path(), shard_);
  std::vector<unsigned char> row(static_cast<size_t>(index_.row_bytes()));
  EXPECT_NE(refusal([&] { reader.read(0, row.data()); }).find("row 0 cannot be decompressed"),
            std::string::npos);
  reader.read(1, row.data());
}

TEST_F(DamagedShardTest, AReplayNamesTheShardAndTheCommandThatMakesItAgain) {
  std::string bytes = whole_;
  bytes[100] ^= 1;
  write_text(path_, bytes);
  const Replay replay{.batch = 5, .seed = 11, .order = {index_.rows(), 11}};
  StoredSoftTargets source(index_, dir_.path(), replay, {});
  source.targets({0, 2, 3}, example_tokens(index_, 2, 3));  // of another shard
  const std::string words = refusal([&] {
    source.targets({6, 2, 3}, example_tokens(index_, 32, 3));
  });
  EXPECT_NE(words.find(path_ + ": damaged"), std::string::npos) << words;
  EXPECT_NE(words.find("temper record --config " + dir_.path() + "/config.ini --record.store " +
                       dir_.path()),
            std::string::npos)
      << words;
}

TEST(DamagedStoreTest, EveryFlippedBitAndEveryOtherLengthOfItsTextFilesIsFound) {
  const ScratchDir dir;
  StoreIndex index = topk_index();
  const std::string options = "# temper record\n[train]\nbatch = 5\n";
  index.config = hex_text(checksum(options));
  const std::string config = dir / kStoreConfigFile;
  write_text(config, options);
  write_store_index(dir.path(), index);
  const auto trouble_with = [&](const std::string& path, const std::string& bytes) {
    const std::string whole = read_text(path);
    write_text(path, bytes);
    const std::string trouble = refusal([&] { read_store_index(dir.path()); });
    write_text(path, whole);
    return trouble;
  };
  for (const std::string& path : {dir / kStoreIndexFile, config}) {
    const std::string whole = read_text(path);
    EXPECT_EQ(trouble_with(path, whole), "");
    for (size_t at = 0; at < whole.size(); ++at) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << at % 8));
      const std::string flipped = trouble_with(path, bytes),
                        shorter = trouble_with(path, whole.substr(0, at));
      EXPECT_TRUE(flipped.starts_with(path + ": ")) << at << ": " << flipped;
      EXPECT_TRUE(shorter.starts_with(path + ": ")) << at << ": " << shorter;
    }
    EXPECT_NE(trouble_with(path, whole + "\n"), "");
    std::printf("  %zu bytes of %s flipped, one at a time\n", whole.size(), path.c_str());
  }
  std::filesystem::remove(config);  // only mending needs it
  EXPECT_EQ(refusal([&] { read_store_index(dir.path()); }), "");
}

}  // namespace
}  // namespace temper
