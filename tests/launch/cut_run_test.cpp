// Runs that meet SIGKILL, a full disk or a damaged checkpoint end with the bits of one that did
// not.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <random>
#include <thread>

#include "tests/launch/killable_job.h"
#include "tests/launch/resume_job.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

TEST(CutRunTest, KilledAgainAndAgainItEndsWithTheSameBits) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole", killed = scratch / "killed";
  const Arguments options = {"--train.steps",           "60",  "--train.checkpoint-every", "1",
                             "--train.checkpoint-keep", "2",   "--launch.teachers",        "1",
                             "--train.shard-optimizer", "true"};
  ASSERT_EQ(launch(distill(whole, options), 3).code, 0);
  const Arguments goes_on = distill(killed, options + Arguments{"--run.resume", "auto"});
  std::mt19937 random(11);
  int kills = 0;
  for (int attempt = 0; attempt < 6; ++attempt) {
    const std::vector<int64_t> before = checkpoint_steps(killed + "/checkpoints");
    const int64_t from = before.empty() ? 0 : before.back();
    KillableJob job(goes_on, scratch / "log", 3);
    const int64_t until = from + std::uniform_int_distribution<int64_t>(1, 8)(random);
    while (job.running()) {
      const std::vector<int64_t> steps = checkpoint_steps(killed + "/checkpoints");
      if (!steps.empty() && steps.back() >= until) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    std::this_thread::sleep_for(
        std::chrono::microseconds(std::uniform_int_distribution<int>(0, 15'000)(random)));
    kills += job.running();
    job.kill_all();
    // Whatever is there under its name is whole.
    const std::vector<int64_t> left = checkpoint_steps(killed + "/checkpoints");
    for (const int64_t step : left) {
      const std::string path = killed + "/checkpoints/" + checkpoint_name(step);
      EXPECT_EQ(file_trouble(read_manifest(path), path), "");
    }
    ASSERT_FALSE(left.empty()) << read_text(scratch / "log");
    std::printf("  killed at step %lld, %zu temporary\n", static_cast<long long>(left.back()),
                temporary_in(killed));
  }
  EXPECT_GE(kills, 4);
  const Outcome outcome = launch(goes_on, 3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  expect_same_metrics(whole, killed);
  EXPECT_EQ(difference(latest(whole), latest(killed)), "");
  EXPECT_EQ(temporary_in(killed), 0u);
}

/// A file system of its own, of a few bytes; not there without the right to mount.
class SmallDisk {
 public:
  explicit SmallDisk(const std::string& path) : path_(path) {
    fs::create_directories(path_);
    mounted_ = mount("tmpfs", path_.c_str(), "tmpfs", 0, "size=2m") == 0;
  }
  ~SmallDisk() {
    if (mounted_) umount2(path_.c_str(), MNT_DETACH);
  }
  SmallDisk(const SmallDisk&) = delete;
  bool mounted() const { return mounted_; }
  bool grow() const { return mount("tmpfs", path_.c_str(), "tmpfs", MS_REMOUNT, "size=64m") == 0; }

 private:
  std::string path_;
  bool mounted_ = false;
};

TEST(CutRunTest, AFullDiskEndsTheJobAndHarmsNothing) {
  for (const bool with_teacher : {false, true}) {
    const ScratchDir scratch;
    const SmallDisk disk(scratch / "disk");
    if (!disk.mounted()) GTEST_SKIP() << "no right to mount a tmpfs: " << std::strerror(errno);
    const std::string dir = scratch / "disk/run", whole = scratch / "whole";
    const auto job = [&](const std::string& run, const Arguments& more) {
      return with_teacher ? distill(run, Arguments{"--launch.teachers", "1", "--student.width",
                                                   "64", "--student.layers", "2"} +
                                             more)
                          : train(run, more);
    };
    const int ranks = with_teacher ? 3 : 2;
    ASSERT_EQ(launch(job(whole, {}), ranks).code, 0);
    Outcome outcome = launch(job(dir, {}), ranks);
    EXPECT_EQ(outcome.code, 1) << outcome.err;
    EXPECT_LT(outcome.seconds, 20);
    const size_t at = outcome.err.find("error: ");
    ASSERT_NE(at, std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find("error: ", at + 1), std::string::npos) << outcome.err;  // once
    for (const std::string& words :
         {std::string("cannot write "), " bytes to " + dir + "/checkpoints/step-",
          std::string("No space left on device"), std::string(" is not saved, that of step "),
          std::string("go on with --run.resume auto")})
      EXPECT_NE(outcome.err.find(words, at), std::string::npos) << outcome.err;
    std::printf("  %s\n", outcome.err.substr(at, outcome.err.find('\n', at) - at).c_str());
    EXPECT_EQ(temporary_in(dir), 0u);
    const std::vector<int64_t> steps = checkpoint_steps(dir + "/checkpoints");
    ASSERT_FALSE(steps.empty());
    EXPECT_LT(steps.back(), 8);
    for (const int64_t step : steps) {
      const std::string path = dir + "/checkpoints/" + checkpoint_name(step);
      EXPECT_EQ(file_trouble(read_manifest(path), path), "");
    }
    ASSERT_TRUE(disk.grow());
    outcome = launch(job(dir, {"--run.resume", "auto"}), ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    expect_same_metrics(whole, dir);
    EXPECT_EQ(difference(latest(whole), latest(dir)), "");
  }
}

TEST(CutRunTest, FaultsOfCheckpointsStrike) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run", whole = scratch / "whole";
  ASSERT_EQ(launch(train(whole, {}), 2).code, 0);
  Outcome outcome = launch(train(dir, {"--debug.fault", "0:5:flip,1:7:disk"}), 2);
  EXPECT_EQ(outcome.code, 1) << outcome.err;
  for (const char* words : {"error: rank 1 on ", "No space left on device (--debug.fault); the ",
                            "the checkpoint of step 8 is not saved, that of step 6 is intact"})
    EXPECT_NE(outcome.err.find(words), std::string::npos) << words << "\n" << outcome.err;
  EXPECT_EQ(temporary_in(dir), 0u);
  outcome = launch(train(dir, {"--run.resume", "auto"}), 2);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("state-00001-of-00002.safetensors: damaged: its checksum is "),
            std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find("checkpoints/step-00000004: step 4"), std::string::npos)
      << outcome.err;
  expect_same_metrics(whole, dir);
  EXPECT_EQ(difference(latest(whole), latest(dir)), "");
}

TEST(CutRunTest, ADamagedCheckpointIsNamedAndTheOneBeforeItTaken) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run", whole = scratch / "whole";
  ASSERT_EQ(launch(train(whole, {}), 2).code, 0);
  copy_run(whole, dir);
  cut_back(dir, 6);
  const std::string file = dir + "/checkpoints/step-00000006/state-00002-of-00002.safetensors";
  std::string bytes = read_text(file);
  bytes[bytes.size() / 2] = static_cast<char>(bytes[bytes.size() / 2] ^ 1);
  write_text(file, bytes);
  const Outcome outcome = launch(train(dir, {"--run.resume", "auto"}), 2);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("warning: " + file + ": damaged: its checksum is "), std::string::npos)
      << outcome.err;
  EXPECT_NE(outcome.err.find("checkpoints/step-00000004: step 4"), std::string::npos)
      << outcome.err;
  expect_same_metrics(whole, dir);
  for (const int64_t step : {6, 8}) {
    const std::string name = "/checkpoints/" + checkpoint_name(step);
    EXPECT_EQ(difference(whole + name, dir + name), "");
  }
}

}  // namespace
}  // namespace temper
