// Files of any length, written in pieces of any length, on a disk and in memory: what is read is
// what was written.
#include "data/atomic_file.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>

namespace temper {
namespace {

constexpr size_t kMebi = size_t{1} << 20;

std::string random_bytes(size_t count, std::mt19937_64& random) {
  std::string bytes(count, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

class AtomicFileTest : public testing::TestWithParam<const char*> {
 protected:
  AtomicFileTest() {
    dir_ = std::string(GetParam()) + "/temper-atomic-file-" + std::to_string(::getpid());
    std::filesystem::create_directories(dir_);
  }
  ~AtomicFileTest() override { std::filesystem::remove_all(dir_); }

  std::string dir_;
};

TEST_P(AtomicFileTest, HoldsWhatWasWrittenWhateverTheLengths) {
  std::mt19937_64 random(1);
  for (const size_t length : {size_t{0}, size_t{1}, 4 * kMebi - 1, 4 * kMebi, 4 * kMebi + 1,
                              8 * kMebi, 11 * kMebi + 123}) {
    const std::string wanted = random_bytes(length, random), path = dir_ + "/file";
    for (const size_t longest : {size_t{70'000}, 5 * kMebi}) {
      AtomicFile file(path);
      for (size_t at = 0; at < length;) {
        const size_t piece = std::min(length - at, 1 + random() % longest);
        file.write(wanted.data() + at, piece);
        at += piece;
      }
      file.commit();
      EXPECT_TRUE(read_text(path) == wanted) << length << " in pieces up to " << longest;
    }
  }
}

TEST_P(AtomicFileTest, WritesOverItsBeginningAndGoesOn) {
  std::mt19937_64 random(2);
  for (const size_t length : {size_t{100}, 4 * kMebi, 9 * kMebi + 5}) {
    std::string wanted = random_bytes(length, random);
    const std::string header = random_bytes(24, random), more = random_bytes(5 * kMebi, random);
    AtomicFile file(dir_ + "/file");
    file.write(wanted.data(), wanted.size());
    file.overwrite(0, header.data(), header.size());
    file.write(more.data(), more.size());
    file.commit();
    wanted.replace(0, header.size(), header);
    EXPECT_TRUE(read_text(dir_ + "/file") == wanted + more) << length;
  }
}

TEST_P(AtomicFileTest, WithoutItsCommitTheOneBeforeItStays) {
  write_text_file(dir_ + "/file", "before");
  {
    AtomicFile file(dir_ + "/file");
    const std::string bytes(9 * kMebi, 'x');
    file.write(bytes.data(), bytes.size());
    EXPECT_EQ(read_text(dir_ + "/file"), "before");
  }
  EXPECT_EQ(read_text(dir_ + "/file"), "before");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_), {}), 1);
}

INSTANTIATE_TEST_SUITE_P(On, AtomicFileTest, testing::Values(".", "/tmp", "/dev/shm"),
                         [](const auto& place) { return "Place" + std::to_string(place.index); });

}  // namespace
}  // namespace temper
