// Which checkpoint a run goes on from: damage is found wherever it is, and an earlier one is taken;
// what is of another run is refused. With one rank, and with two that share the reading.
#include "launch/resumption.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <random>

#include "comm/agree.h"
#include "tests/launch/launcher.h"
#include "tests/launch/small_checkpoint.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

/// A run folder of the first rank's, on every rank.
class RunFolder {
 public:
  explicit RunFolder(const Communicator& world) : world_(world) {
    if (world.rank() == 0) scratch_.emplace();
    path_ = world.broadcast(scratch_ ? scratch_->path() : "", 0);
    if (world.rank() == 0) {
      for (const int64_t step : {1, 2}) save_small_checkpoint(path_ + "/checkpoints", step, 0);
    }
    world.barrier();
  }
  ~RunFolder() { world_.barrier(); }

  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  const Communicator& world_;
  std::optional<ScratchDir> scratch_;
  std::string path_;
};

CheckpointManifest expected() { return small_manifest(0); }

Resumption resumption(const RunFolder& run, const Communicator& world,
                      const std::string& resume = "auto") {
  return {resume, run.path(), "train", expected().configuration, world};
}

/// What point() chose, and what it said on rank 0.
struct Choice {
  int64_t step = -1;  // -1: refused
  std::string said;
};
Choice choose(const Resumption& resumption, const CheckpointManifest& manifest = expected()) {
  Choice choice;
  testing::internal::CaptureStderr();
  std::string refusal;
  try {
    choice.step = resumption.point(manifest).step();
  } catch (const AgreedError& error) {
    refusal = error.what();
  }
  choice.said = testing::internal::GetCapturedStderr() + refusal;
  return choice;
}

TEST(ResumptionTest, TakesTheNewest) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  const Resumption all = resumption(run, world);
  const Choice choice = choose(all);
  EXPECT_EQ(choice.step, 2);
  EXPECT_EQ(choice.said.find("warning"), std::string::npos);
  CheckpointManifest other = expected();
  other.stage = "teacher";  // has none yet
  EXPECT_EQ(choose(all, other).step, 0);
  EXPECT_EQ(choose(resumption(run, world, run / "checkpoints/latest")).step, 2);
  EXPECT_EQ(choose(resumption(run, world, run / "checkpoints/step-00000001")).step, 1);
  // `no` begins anew, and removes what an earlier run left.
  EXPECT_EQ(choose(resumption(run, world, "no")).step, 0);
  EXPECT_TRUE(checkpoint_steps(run / "checkpoints").empty());
}

// Show: flips and truncations at 1,000 random places over all files of a checkpoint.
TEST(ResumptionTest, AThousandDamagesAreFoundAndNamedAndTheEarlierOneIsTaken) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  const Resumption all = resumption(run, world);
  const std::string newest = run / "checkpoints/step-00000002";
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(newest)) files.push_back(entry.path().string());
  std::sort(files.begin(), files.end());
  ASSERT_EQ(files.size(),
            8u);  // two of weights, their index, two configurations, two states, manifest
  std::mt19937_64 random(99);  // the same on every rank
  const int damages = 1000 / world.size();
  int flips = 0;
  for (int i = 0; i < damages; ++i) {
    const std::string& file = files[random() % files.size()];
    const bool flip = random() % 4 != 0;
    const uint64_t at = random(), bit = random() % 8;
    std::string intact;
    if (world.rank() == 0) {
      intact = read_text(file);
      std::string damaged = intact;
      const size_t place = at % intact.size();
      if (flip) {
        damaged[place] = static_cast<char>(damaged[place] ^ (1 << bit));
      } else {
        damaged.resize(place);
      }
      write_text(file, damaged);
    }
    flips += flip;
    world.barrier();
    const Choice choice = choose(all);
    EXPECT_EQ(choice.step, 1) << file << " at " << at;
    if (world.rank() == 0) {
      EXPECT_NE(choice.said.find("warning: " + file + ": "), std::string::npos) << choice.said;
      EXPECT_NE(choice.said.find("going back to an earlier checkpoint"), std::string::npos);
      EXPECT_EQ(fs::read_symlink(run / "checkpoints/latest"), "step-00000001");
    }
    world.barrier();
    if (world.rank() == 0) write_text(file, intact);
  }
  world.barrier();
  EXPECT_EQ(choose(all).step, 2);
  world.barrier();
  EXPECT_EQ(fs::read_symlink(run / "checkpoints/latest"), "step-00000002");
  if (world.rank() == 0)
    std::printf("  %d flips and %d truncations: each named, the earlier checkpoint taken\n", flips,
                damages - flips);
}

TEST(ResumptionTest, AFileThatIsMissingIsDamageAndNoneLeftIsRefused) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  const Resumption all = resumption(run, world);
  const std::string one = run / "checkpoints/step-00000001/config.json",
                    two = run / "checkpoints/step-00000002/manifest.json";
  if (world.rank() == 0) fs::remove(two);
  world.barrier();
  Choice choice = choose(all);
  EXPECT_EQ(choice.step, 1);
  if (world.rank() == 0) {
    EXPECT_NE(choice.said.find(two), std::string::npos) << choice.said;
  }
  world.barrier();
  if (world.rank() == 0) fs::remove(one);
  world.barrier();
  choice = choose(all);
  EXPECT_EQ(choice.step, -1);
  for (const std::string& words :
       {"no checkpoint in " + (run / "checkpoints") + " can be used: ", one + ": ", two + ": ",
        std::string("begin anew with --run.resume no --run.overwrite true")})
    EXPECT_NE(choice.said.find(words), std::string::npos) << choice.said;
}

TEST(ResumptionTest, WhatIsOfAnotherRunIsRefusedWithBothValues) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  const Resumption all = resumption(run, world);
  const auto refused = [&](const std::string& words, const CheckpointManifest& manifest) {
    const Choice choice = choose(all, manifest);
    EXPECT_EQ(choice.step, -1) << words;
    EXPECT_NE(choice.said.find(words), std::string::npos) << choice.said;
  };
  CheckpointManifest other = expected();
  other.seed = 5;
  refused("seed is 1, here it is 5", other);
  other = expected();
  other.data = "e";
  refused("data is d, here it is e", other);
  other = expected();
  other.teacher = "t";
  refused("teacher is , here it is t", other);
  other = expected();
  other.first_weights = "e";
  other.first_weights_options = "--model.path elsewhere";
  refused("/manifest.json: first_weights is f, here it is e, by --model.path elsewhere; go on with",
          other);
  other.first_weights = kRandomWeights;
  refused("first_weights is f, here it is random, by ", other);
  other = expected();
  other.configuration = "# temper train: test\n[train]\nlr = 0.2\n";
  refused("has train.lr 0.1, here it is 0.2", other);
  other.configuration =
      "# temper train: test\n[train]\nlr = 0.1\nlog-every = 5\n[run]\nthreads = 3\n";
  EXPECT_EQ(choose(all, other).step, 2);
}

// Of an earlier version, which did not write what they began with.
TEST(ResumptionTest, CheckpointsAndResultsWithoutFirstWeightsAreTaken) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  const std::string dir = run / "checkpoints";
  CheckpointManifest old = expected();
  old.first_weights.clear();
  if (world.rank() == 0) {
    CheckpointManifest newest = read_manifest(dir + "/step-00000002");
    newest.first_weights.clear();
    const std::string text = manifest_text(newest);
    EXPECT_EQ(text.find("first_weights"), std::string::npos);
    write_text(dir + "/step-00000002/manifest.json", text);
    Resumption("auto", run.path(), "train", "", Communicator::self()).finish(old, {{"nll", 2.5}});
    EXPECT_EQ(read_text(run / "stages/train.json").find("first_weights"), std::string::npos);
  }
  world.barrier();
  const Resumption all = resumption(run, world);
  EXPECT_EQ(choose(all).step, 2);
  EXPECT_TRUE(all.result(expected()));
}

CheckpointManifest of_stage(const std::string& stage) {
  CheckpointManifest manifest = expected();
  manifest.stage = stage;
  return manifest;
}

/// As a run leaves them that has finished its teacher and itself.
void finish_stages(const RunFolder& run, const Communicator& world) {
  if (world.rank() == 0) {
    const Resumption first("auto", run.path(), "train", "", Communicator::self());
    save_small_checkpoint(first.checkpoints("teacher"), 3, 0);
    EXPECT_FALSE(first.result(of_stage("teacher")));
    first.finish(of_stage("teacher"), {{"nll", 1.5}});
    first.finish(of_stage("train"), {{"nll", 2.5}});
    EXPECT_FALSE(fs::exists(first.checkpoints("teacher")));
    EXPECT_EQ(checkpoint_steps(first.checkpoints("train")), (std::vector<int64_t>{1, 2}));
  }
  world.barrier();
}

TEST(ResumptionTest, AFinishedStageIsKeptWithItsResult) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  finish_stages(run, world);
  const Resumption second = resumption(run, world);
  EXPECT_TRUE(second.goes_on());
  ASSERT_TRUE(second.result(of_stage("teacher")));
  EXPECT_EQ(second.result(of_stage("teacher"))->at("nll"), 1.5);
  EXPECT_TRUE(second.result(of_stage("train")));
  // Whoever names a checkpoint wants what came after it again, and not what came before.
  const Resumption third = resumption(run, world, run / "checkpoints/step-00000001");
  EXPECT_TRUE(third.result(of_stage("teacher")));
  EXPECT_FALSE(third.result(of_stage("train")));
  world.barrier();
  const Resumption anew = resumption(run, world, "no");
  EXPECT_FALSE(anew.goes_on());
  EXPECT_FALSE(anew.result(of_stage("teacher")));
}

TEST(ResumptionTest, AResultOfSomethingElseIsRefusedWithBothValues) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  finish_stages(run, world);
  const std::string file = run / "stages/train.json";
  const auto refused = [&](const std::string& words, const CheckpointManifest& manifest) {
    const Resumption all = resumption(run, world);
    try {
      all.result(manifest);
      ADD_FAILURE() << "not refused: " << words;
    } catch (const AgreedError& error) {
      EXPECT_TRUE(error.user_error);
      EXPECT_NE(std::string(error.what()).find(file + words), std::string::npos) << error.what();
    }
  };
  CheckpointManifest other = expected();
  other.data = "e";
  refused(": data is d, here it is e; go on with the data", other);
  other = expected();
  other.teacher = "t";
  refused(": teacher is , here it is t; go on with the teacher", other);
  other = expected();
  other.seed = 5;
  refused(": seed is 1, here it is 5", other);
  other = expected();
  other.first_weights = "e";
  refused(": first_weights is f, here it is e, by ", other);
  other = expected();
  other.configuration = "# temper train: test\n[train]\nlr = 0.2\n";
  refused(" has train.lr 0.1, here it is 0.2", other);
  // As an earlier version wrote it.
  world.barrier();
  if (world.rank() == 0) write_text(file, R"({"nll": 2.5, "seed": 1})");
  world.barrier();
  refused(": does not say of which data, teacher and configuration it is the result", expected());
}

// What a refused command would have removed must still be there for the right one.
TEST(ResumptionTest, ANamedCheckpointRemovesWhatCameAfterItOnlyWhenItIsTaken) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  finish_stages(run, world);
  const std::string name = run / "checkpoints/step-00000001", file = run / "stages/train.json";
  const std::string config = run / "config.ini";
  const auto untouched = [&] {
    world.barrier();
    EXPECT_TRUE(fs::exists(file));
    EXPECT_EQ(checkpoint_steps(run / "checkpoints"), (std::vector<int64_t>{1, 2}));
    EXPECT_EQ(read_text(config), "");
    world.barrier();
  };
  CheckpointManifest other = expected();
  other.teacher = "t";
  EXPECT_EQ(choose(resumption(run, world, name), other).step, -1);
  untouched();
  std::string intact;
  if (world.rank() == 0) {
    intact = read_text(name + "/config.json");
    write_text(name + "/config.json", "damaged");
  }
  world.barrier();
  EXPECT_EQ(choose(resumption(run, world, name)).step, -1);
  untouched();
  if (world.rank() == 0) write_text(name + "/config.json", intact);
  world.barrier();
  resumption(run, world, name);  // and stopped before its first step
  untouched();

  const Choice choice = choose(resumption(run, world, name));
  EXPECT_EQ(choice.step, 1);
  if (world.rank() == 0) {
    EXPECT_NE(choice.said.find("came after it: 1 checkpoint, the result of train\n"),
              std::string::npos)
        << choice.said;
  }
  world.barrier();
  EXPECT_FALSE(fs::exists(file));
  EXPECT_TRUE(fs::exists(run / "stages/teacher.json"));
  EXPECT_EQ(checkpoint_steps(run / "checkpoints"), std::vector<int64_t>{1});
  EXPECT_EQ(fs::read_symlink(run / "checkpoints/latest"), "step-00000001");
  EXPECT_EQ(read_text(config), expected().configuration);
  // From now on `auto` goes on from there.
  const Resumption next = resumption(run, world);
  EXPECT_FALSE(next.result(of_stage("train")));
  EXPECT_EQ(choose(next).step, 1);
}

TEST(ResumptionTest, WhatAKilledRunLeftHalfWrittenGoes) {
  const Communicator world = Communicator::world();
  const RunFolder run(world);
  const std::vector<std::string> gone = {"config.ini.tmp.12", "stages/train.json.tmp.1",
                                         "student/model.safetensors.tmp.77",
                                         "model/config.json.tmp.5", "teacher/tokenizer.json.tmp.9"};
  const std::vector<std::string> kept = {"metrics.jsonl", "student/model.safetensors",
                                         "model/config.json.tmp.old", "mine/a.tmp.3"};
  if (world.rank() == 0) {
    for (const char* folder : {"stages", "student", "model", "teacher", "mine"})
      fs::create_directories(run / folder);
    for (const std::string& name : gone) write_text(run / name, "x");
    for (const std::string& name : kept) write_text(run / name, "x");
  }
  world.barrier();
  resumption(run, world);
  world.barrier();
  for (const std::string& name : gone) EXPECT_FALSE(fs::exists(run / name)) << name;
  for (const std::string& name : kept) EXPECT_TRUE(fs::exists(run / name)) << name;
}

}  // namespace
}  // namespace temper
