// Runs that are cut and go on: to the bits of a run that was not, in every layout, after SIGKILL,
// and after a full disk.
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <thread>

#include "launch/checkpoint_folder.h"
#include "tests/launch/killable_job.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

namespace fs = std::filesystem;
using Arguments = std::vector<std::string>;

/// An option that is given again replaces the one before it.
Arguments operator+(Arguments some, const Arguments& more) {
  for (const std::string& word : more) {
    const auto at = word.starts_with("--") ? std::find(some.begin(), some.end(), word) : some.end();
    if (at != some.end()) some.erase(at, at + 2);
  }
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

const Arguments kTraining = {"--train.steps",
                             "8",
                             "--train.batch",
                             "6",
                             "--train.seq",
                             "32",
                             "--train.warmup",
                             "2",
                             "--train.checkpoint-keep",
                             "0",
                             "--train.checkpoint-every",
                             "2",
                             "--evaluate.max-tokens",
                             "256",
                             "--run.threads",
                             "1",
                             "--run.seed",
                             "3"};

Arguments distill(const std::string& dir, const Arguments& more) {
  return Arguments{"distill", "--run.dir",       dir, "--teacher.layers", "2",  "--teacher.width",
                   "48",      "--teacher.heads", "4", "--student.layers", "1",  "--student.width",
                   "32",      "--student.heads", "4", "--loss.alpha",     "0.7"} +
         kTraining + more;
}

Arguments train(const std::string& dir, const Arguments& more) {
  return Arguments{"train", "--run.dir",     dir, "--model.layers", "2", "--model.width",
                   "64",    "--model.heads", "4"} +
         kTraining + more;
}

std::string latest(const std::string& run) {
  return run + "/checkpoints/" + checkpoint_name(checkpoint_steps(run + "/checkpoints").back());
}

size_t temporary_in(const std::string& dir) {
  size_t count = 0;
  for (const auto& entry : fs::recursive_directory_iterator(dir))
    count += entry.path().filename().string().find(".tmp") != std::string::npos;
  return count;
}

/// What is in one folder and not, or otherwise, in the other; manifests hold times and are left
/// out.
std::string difference(const std::string& a, const std::string& b) {
  std::string names;
  for (const auto& [from, to] : {std::pair{a, b}, {b, a}}) {
    for (const auto& entry : fs::directory_iterator(from)) {
      const std::string name = entry.path().filename().string();
      if (name != kManifestFile && read_text(from + "/" + name) != read_text(to + "/" + name))
        names += name + " ";
    }
  }
  return names;
}

/// A run's numbers that do not depend on time, a line a step.
void expect_same_metrics(const std::string& a, const std::string& b,
                         const std::string& file = "/metrics.jsonl") {
  for (const char* key : {"step", "loss", "kl", "ce", "grad_norm", "lr", "tokens"})
    EXPECT_EQ(metric(a + file, key), metric(b + file, key)) << file << " " << key;
}

/// As a kill leaves `run` that comes after the checkpoint of `step`: what was finished before it
/// stays.
void cut_back(const std::string& run, int64_t step) {
  for (const int64_t later : checkpoint_steps(run + "/checkpoints")) {
    if (later > step) fs::remove_all(run + "/checkpoints/" + checkpoint_name(later));
  }
  for (const auto& entry : fs::directory_iterator(run + "/stages")) {
    if (entry.path().stem() != "teacher") fs::remove(entry.path());
  }
  for (const char* name : {"student", "model", "summary.json", "report.html"})
    fs::remove_all(run + "/" + name);
  write_text(run + "/metrics.jsonl", read_text(run + "/metrics.jsonl") + R"({"step": 8, "lo)");
  fs::create_directories(run + "/checkpoints/step-00000006.tmp");
}

void copy(const std::string& from, const std::string& to) {
  fs::copy(from, to, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
}

struct Layout {
  const char* name;
  int ranks;
  Arguments options;
};

const std::vector<Layout> kLayouts = {
    {"colocated", 1, {}},
    {"colocated, 2 ranks, sharded optimizer, bf16",
     2,
     {"--train.shard-optimizer", "true", "--run.precision", "bf16", "--train.micro-batch", "2"}},
    {"1 teacher, 2 students, hidden states matched",
     3,
     {"--launch.teachers", "1", "--teacher.payload", "hidden", "--loss.hidden-weight", "0.5"}},
    {"1 teacher, 2 students, sharded optimizer, a trained teacher, rows of the student",
     3,
     {"--launch.teachers", "1", "--train.shard-optimizer", "true", "--teacher.train-steps", "3",
      "--train.on-policy", "0.4"}},
};

// Show: 2N steps against N, resume and N.
TEST(ResumeTest, GoesOnToTheBitsOfARunThatWasNotCut) {
  for (const Layout& layout : kLayouts) {
    const ScratchDir scratch;
    const std::string whole = scratch / "whole", cut = scratch / "cut";
    Outcome outcome = launch(distill(whole, layout.options), layout.ranks);
    ASSERT_EQ(outcome.code, 0) << layout.name << outcome.err;
    copy(whole, cut);
    cut_back(cut, 4);
    outcome =
        launch(distill(cut, layout.options + Arguments{"--run.resume", "auto"}), layout.ranks);
    ASSERT_EQ(outcome.code, 0) << layout.name << outcome.err;
    EXPECT_NE(outcome.err.find("checkpoints/step-00000004: step 4, saved by "), std::string::npos)
        << outcome.err;
    expect_same_metrics(whole, cut);
    if (layout.options.size() > 1 && fs::exists(whole + "/teacher")) {
      EXPECT_EQ(difference(whole + "/teacher", cut + "/teacher"), "");
      EXPECT_NE(outcome.err.find("resume  teacher: finished before"), std::string::npos);
    }
    for (const int64_t step : {6, 8}) {
      const std::string name = "/checkpoints/" + checkpoint_name(step);
      EXPECT_EQ(difference(whole + name, cut + name), "") << layout.name;
    }
    EXPECT_EQ(difference(whole + "/student", cut + "/student"), "") << layout.name;
    EXPECT_EQ(temporary_in(cut), 0u);
    std::printf("  %s: the same bits in %zu files of the last checkpoint\n", layout.name,
                read_manifest(latest(cut)).files.size());
  }
}

// Show: another number of ranks, of either role, with and without shards.
TEST(ResumeTest, GoesOnWithOtherRanks) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole";
  const Arguments options = {"--launch.teachers",       "1",    "--teacher.payload",    "hidden",
                             "--train.shard-optimizer", "true", "--loss.hidden-weight", "0.5"};
  Outcome outcome = launch(distill(whole, options), 3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::vector<double> wanted = metric(whole + "/metrics.jsonl", "loss");
  const std::vector<Layout> others = {
      {"colocated, alone", 0, {"--launch.teachers", "0", "--train.shard-optimizer", "false"}},
      {"colocated, 3 ranks", 3, {"--launch.teachers", "0"}},
      {"2 teachers, 1 student", 3, {"--launch.teachers", "2"}},
      {"1 teacher, 3 students", 4, {"--train.micro-batch", "1"}},
      {"1 teacher, 2 students, whole optimizer", 3, {"--train.shard-optimizer", "false"}}};
  for (const Layout& other : others) {
    const std::string cut = scratch / "cut";
    copy(whole, cut);
    cut_back(cut, 4);
    outcome = launch(distill(cut, options + other.options + Arguments{"--run.resume", "auto"}),
                     other.ranks);
    ASSERT_EQ(outcome.code, 0) << other.name << outcome.err;
    EXPECT_NE(outcome.err.find("step 4, saved by 2 students and 1 teacher"), std::string::npos)
        << outcome.err;
    EXPECT_EQ(metric(whole + "/metrics.jsonl", "tokens"), metric(cut + "/metrics.jsonl", "tokens"));
    const std::vector<double> losses = metric(cut + "/metrics.jsonl", "loss");
    ASSERT_EQ(losses.size(), wanted.size());
    double largest = 0;
    for (size_t i = 0; i < losses.size(); ++i)
      largest = std::max(largest, std::abs(losses[i] - wanted[i]) / wanted[i]);
    EXPECT_LE(largest, 1e-4) << other.name;
    std::printf("  from 1 teacher and 2 students to %s: losses differ by %.1e\n", other.name,
                largest);
    fs::remove_all(cut);
  }
}

TEST(ResumeTest, EachStageIsKeptAsItIsFinished) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole";
  const Arguments options = {"--compare.hard-labels", "true", "--compare.seeds",   "2",
                             "--teacher.train-steps", "4",    "--log.tensorboard", "true"};
  ASSERT_EQ(launch(distill(whole, options)).code, 0);
  const auto results = [](const std::string& run) {
    return nlohmann::json::parse(read_text(run + "/summary.json")).at("results");
  };
  for (const char* stage : {"teacher", "distilled-1", "hard-labels-1", "distilled-2"}) {
    // Cut in this stage, which has not saved anything yet.
    const std::string cut = scratch / "cut";
    copy(whole, cut);
    bool later = false;
    for (const char* each :
         {"teacher", "distilled-1", "hard-labels-1", "distilled-2", "hard-labels-2"}) {
      later = later || each == std::string(stage);
      if (later) fs::remove(cut + "/stages/" + each + ".json");
    }
    fs::remove(cut + "/summary.json");
    const Outcome outcome = launch(distill(cut, options + Arguments{"--run.resume", "auto"}), 0);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    EXPECT_EQ(results(cut), results(whole)) << stage;
    for (const char* file :
         {"/metrics.jsonl", "/teacher-metrics.jsonl", "/hard-labels-metrics.jsonl"})
      expect_same_metrics(whole, cut, file);
    EXPECT_EQ(outcome.err.find("resume  teacher: finished before") != std::string::npos,
              std::string(stage) != "teacher")
        << outcome.err;
    fs::remove_all(cut);
  }
  // All of it done: the table once more.
  const Outcome again = launch(distill(whole, options + Arguments{"--run.resume", "auto"}));
  EXPECT_EQ(again.code, 0) << again.err;
  EXPECT_NE(again.out.find("student, hard labels"), std::string::npos) << again.out;
  EXPECT_EQ(again.err.find("distil  "), std::string::npos) << again.err;
}

TEST(ResumeTest, AutoIsSafeAtTheFirstStartAndAfterTheLast) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run", other = scratch / "other";
  const Arguments automatic = {"--run.resume", "auto"};
  Outcome outcome = launch(train(dir, automatic));
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("no checkpoint of train yet, it begins at step 0"), std::string::npos)
      << outcome.err;
  ASSERT_EQ(launch(train(other, {})).code, 0);
  expect_same_metrics(dir, other);
  EXPECT_EQ(difference(dir + "/model", other + "/model"), "");
  outcome = launch(train(dir, automatic));
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("this run is finished"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.out.find("model: " + dir + "/model"), std::string::npos) << outcome.out;

  // A checkpoint by its name; the run folder follows from it.
  outcome = launch({"train", "--config", dir + "/config.ini", "--run.dir", "", "--run.resume",
                    dir + "/checkpoints/step-00000004"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("step-00000004: step 4"), std::string::npos) << outcome.err;
  expect_same_metrics(dir, other);
  EXPECT_EQ(difference(latest(dir), latest(other)), "");

  // It is a folder that evaluate opens.
  const Outcome judged = launch({"evaluate", "--model.path", dir + "/checkpoints/latest",
                                 "--train.seq", "32", "--evaluate.max-tokens", "256"});
  EXPECT_EQ(judged.code, 0) << judged.err;
}

TEST(ResumeTest, WhatWouldTrainSomethingElseIsRefusedWithBothValues) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  ASSERT_EQ(launch(train(dir, {})).code, 0);
  const std::string before = read_text(dir + "/metrics.jsonl");
  const auto refused = [&](const std::string& words, const Arguments& arguments, int ranks = 0) {
    const Outcome outcome = launch(arguments, ranks);
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
  };
  refused(
      "has train.lr 0.001, here it is 0.002: that would train something else; give --train.lr "
      "0.001",
      train(dir, {"--run.resume", "auto", "--train.lr", "0.002"}), 2);
  refused("has run.seed 3, here it is 4", train(dir, {"--run.resume", "auto", "--run.seed", "4"}));
  refused("is of another command", distill(dir, {"--run.resume", "auto"}));
  refused("holds a run already", train(dir, {}));
  refused("--run.resume auto without --run.dir", train("", {"--run.resume", "auto"}));
  refused("--run.resume nowhere: No such file", train(dir, {"--run.resume", "nowhere"}));
  refused("is no checkpoint", train(dir, {"--run.resume", dir}));
  refused("is a checkpoint of " + dir,
          train(scratch / "other", {"--run.resume", dir + "/checkpoints/step-00000004"}));
  EXPECT_EQ(read_text(dir + "/metrics.jsonl"), before);

  // A new run in the same folder takes nothing of the old one.
  ASSERT_EQ(launch(train(dir, {"--run.overwrite", "true", "--train.lr", "0.002",
                               "--train.checkpoint-every", "0"}))
                .code,
            0);
  EXPECT_TRUE(checkpoint_steps(dir + "/checkpoints").empty());
}

TEST(ResumeTest, KilledAgainAndAgainItEndsWithTheSameBits) {
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
    for (const int64_t step : checkpoint_steps(killed + "/checkpoints")) {
      const std::string path = killed + "/checkpoints/" + checkpoint_name(step);
      EXPECT_EQ(file_trouble(read_manifest(path), path), "");
    }
    std::printf("  killed at step %lld, %zu temporary\n",
                static_cast<long long>(checkpoint_steps(killed + "/checkpoints").back()),
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

TEST(ResumeTest, AFullDiskEndsTheJobAndHarmsNothing) {
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

TEST(ResumeTest, ADamagedCheckpointIsNamedAndTheOneBeforeItTaken) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run", whole = scratch / "whole";
  ASSERT_EQ(launch(train(whole, {}), 2).code, 0);
  copy(whole, dir);
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

TEST(ResumeTest, AStoreThatWasBeingRecordedIsCompletedByItsOwnCommand) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole", cut = scratch / "cut", store = scratch / "store";
  const Arguments options = {"--launch.teachers", "1", "--teacher.tee", store};
  ASSERT_EQ(launch(distill(whole, options), 3).code, 0);
  copy(whole, cut);
  cut_back(cut, 4);
  std::map<std::string, std::string> shards;
  for (const auto& entry : fs::directory_iterator(store)) {
    if (entry.path().extension() == ".soft")
      shards[entry.path().string()] = read_text(entry.path().string());
  }
  ASSERT_EQ(shards.size(), 2u);
  for (const auto& [path, content] : shards) fs::remove(path);
  Outcome outcome = launch(distill(cut, options + Arguments{"--run.resume", "auto"}), 3);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_NE(outcome.err.find("lacks 2 of 2 shards"), std::string::npos) << outcome.err;
  EXPECT_NE(outcome.err.find("temper record --config " + store + "/config.ini"), std::string::npos)
      << outcome.err;
  expect_same_metrics(whole, cut);
  outcome = launch({"record", "--config", store + "/config.ini", "--record.store", store});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  for (const auto& [path, content] : shards) EXPECT_EQ(read_text(path), content) << path;
}

}  // namespace
}  // namespace temper
