// Numbers that are not finite, in whole jobs: all ranks skip the same step, which sequences it was
// is written down, and what cannot get better ends the job with its exit code.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "model/safetensors.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

using Arguments = std::vector<std::string>;
using Json = nlohmann::json;

Arguments operator+(Arguments some, const Arguments& more) {
  some.insert(some.end(), more.begin(), more.end());
  return some;
}

/// 12 steps of 6 rows, a checkpoint after each.
Arguments distill(const std::string& dir, const Arguments& more) {
  return Arguments{"distill", "--run.dir",
                   dir,       "--teacher.layers",
                   "1",       "--teacher.width",
                   "32",      "--teacher.heads",
                   "2",       "--student.layers",
                   "1",       "--student.width",
                   "32",      "--student.heads",
                   "2",       "--train.steps",
                   "12",      "--train.batch",
                   "6",       "--train.micro-batch",
                   "1",       "--train.seq",
                   "16",      "--train.warmup",
                   "2",       "--train.checkpoint-keep",
                   "0",       "--train.checkpoint-every",
                   "1",       "--evaluate.max-tokens",
                   "128",     "--run.threads",
                   "1"} +
         more;
}

at::Tensor weights(const std::string& dir, int step) {
  char name[64];
  std::snprintf(name, sizeof name, "/checkpoints/step-%08d", step);
  std::map<std::string, at::Tensor> parts;  // by name: each rank wrote some
  for (const auto& entry : std::filesystem::directory_iterator(dir + name)) {
    if (!entry.path().filename().string().starts_with("model") ||
        entry.path().extension() != ".safetensors")
      continue;
    const SafetensorsFile file(entry.path().string());
    for (const std::string& each : file.names()) parts[each] = file.tensor(each).flatten().clone();
  }
  std::vector<at::Tensor> all;
  for (const auto& [key, part] : parts) all.push_back(part);
  return at::cat(all);  // (P)
}

std::vector<Json> lines(const std::string& dir) {
  std::vector<Json> result;
  std::ifstream file(dir + "/metrics.jsonl");
  for (std::string line; std::getline(file, line);) result.push_back(Json::parse(line));
  return result;
}

size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The step with the NaN changes no bit, and nothing of it is left for later: whichever student it
// was on, the run goes on to the same weights. Colocated, with a teacher rank, with a sharded
// optimizer, with a projection of hidden states that learns as well.
TEST(SkippedRunTest, ANanOnOneRankIsSkippedByAll) {
  const std::vector<std::pair<std::string, Arguments>> layouts = {
      {"colocated", {"--launch.teachers", "0"}},
      {"one teacher", {"--launch.teachers", "1"}},
      {"one teacher, sharded", {"--launch.teachers", "1", "--train.shard-optimizer", "true"}},
      {"hidden states",
       {"--launch.teachers", "1", "--teacher.payload", "hidden", "--loss.hidden-weight", "0.5"}}};
  for (const auto& [name, layout] : layouts) {
    const ScratchDir scratch;
    std::vector<at::Tensor> last;
    for (const std::string rank : {"0", "1"}) {
      const std::string dir = scratch / rank;
      const Outcome outcome =
          launch(distill(dir, layout + Arguments{"--debug.fault", rank + ":5:nan"}), 3, 60);
      ASSERT_EQ(outcome.code, 0) << name << outcome.err;
      EXPECT_TRUE(at::equal(weights(dir, 6), weights(dir, 5))) << name;
      EXPECT_FALSE(at::equal(weights(dir, 5), weights(dir, 4))) << name;
      EXPECT_FALSE(at::equal(weights(dir, 7), weights(dir, 6))) << name;
      last.push_back(weights(dir, 12));
      // 3 students of 2 rows each, or 2 of 3: the first row of the rank.
      const int64_t row = 5 * 6 + std::stoi(rank) * (name == "colocated" ? 2 : 3);
      EXPECT_EQ(count(outcome.err, "skipped step 5: the loss is nan"), 1u) << outcome.err;
      EXPECT_NE(outcome.err.find("; sequence " + std::to_string(row) + ";"), std::string::npos)
          << outcome.err;
      const std::vector<Json> log = lines(dir);
      ASSERT_EQ(log.size(), 12u);
      for (const Json& line : log) EXPECT_EQ(line.contains("skipped"), line["step"] == 5) << line;
      EXPECT_EQ(log[5]["skipped"], true);
      EXPECT_EQ(log[5]["sequences"], Json::array({row}));
      EXPECT_TRUE(log[5]["loss"].is_null());
    }
    EXPECT_TRUE(at::equal(last[0], last[1])) << name;
    EXPECT_TRUE(at::isfinite(last[0]).all().item<bool>()) << name;
  }
}

TEST(SkippedRunTest, ALimitInARowEndsTheJob) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const Outcome outcome = launch(distill(dir, {"--launch.teachers", "1", "--train.skip-limit", "3",
                                               "--debug.fault", "0:4:nan,1:6:nan,0:7:nan,1:8:nan"}),
                                 3, 60);
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_EQ(count(outcome.err, "error:"), 1u) << outcome.err;
  for (const char* part : {"step 8: 3 steps in a row were skipped (--train.skip-limit)",
                           "sequence 51", "those after step 5", "--train.lr"})
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << "\n" << outcome.err;
  const std::vector<Json> log = lines(dir);
  ASSERT_EQ(log.size(), 9u);
  EXPECT_TRUE(at::equal(weights(dir, 6), weights(dir, 8)));
}

// No step is left that could show it again.
TEST(SkippedRunTest, ALimitReachedInTheLastStepEndsTheNextJobToo) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const auto job = [&](const Arguments& more) {
    return launch(distill(dir, Arguments{"--launch.teachers", "1"} + more), 3, 60);
  };
  Outcome outcome = job({"--train.skip-limit", "2", "--debug.fault", "0:10:nan,1:11:nan"});
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_NE(outcome.err.find("step 11: 2 steps in a row were skipped"), std::string::npos)
      << outcome.err;
  outcome = job({"--train.skip-limit", "2", "--run.resume", "auto"});
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  EXPECT_EQ(count(outcome.err, "error:"), 1u) << outcome.err;
  for (const char* part : {"step 11: 2 steps in a row were skipped (--train.skip-limit)",
                           "metrics.jsonl", "those after step 9"})
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << "\n" << outcome.err;
  EXPECT_FALSE(std::filesystem::exists(dir + "/summary.json"));
  outcome = job({"--train.skip-limit", "3", "--run.resume", "auto"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(std::filesystem::exists(dir + "/summary.json"));
}

// From step 6 on the loss is the whole cross-entropy, and before a hundredth of it: what the guard
// took for spikes was there to stay. Whoever goes on has looked at it.
TEST(SkippedRunTest, ARunThatSpikesEndedGoesOnWithLossesThatRoseForGood) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const auto job = [&](const Arguments& more) {
    return launch(
        distill(dir, Arguments{"--loss.alpha", "step 0:0.99,6:0", "--train.spike-factor", "2",
                               "--train.spike-window", "3", "--train.skip-limit", "2"} +
                         more));
  };
  Outcome outcome = job({});
  EXPECT_EQ(outcome.code, 4) << outcome.err;
  for (const char* part : {"step 7: 2 steps in a row were skipped", "--train.spike-factor 2"})
    EXPECT_NE(outcome.err.find(part), std::string::npos) << part << "\n" << outcome.err;
  outcome = job({"--run.resume", "auto"});
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  const std::vector<Json> log = lines(dir);
  ASSERT_EQ(log.size(), 12u);
  for (const Json& line : log) {
    const int step = line.at("step");
    EXPECT_EQ(line.contains("skipped"), step == 6 || step == 7) << line.dump();
    EXPECT_EQ(line.at("kl").is_null(), step >= 6) << line.dump();
  }
}

TEST(SkippedRunTest, TheLimitIsNamedWhereItIsWrong) {
  const ScratchDir scratch;
  for (const Arguments& wrong :
       {Arguments{"--train.skip-limit", "0"}, Arguments{"--train.spike-factor", "0.5"},
        Arguments{"--train.spike-window", "0"}, Arguments{"--run.timeout", "0.5"},
        Arguments{"--debug.fault", "7:1:kill"}}) {
    const Outcome outcome = launch(distill(scratch / "run", wrong));
    EXPECT_EQ(outcome.code, 2) << outcome.err;
    EXPECT_EQ(count(outcome.err, "error:"), 1u) << outcome.err;
    EXPECT_NE(outcome.err.find(wrong[0]), std::string::npos) << outcome.err;
  }
}

// Its weights stay as they are: it would come again with every step.
TEST(SkippedRunTest, ATeacherWithoutFiniteNumbersEndsTheJobWithOneMessage) {
  for (const std::string payload : {"full", "hidden", "topk", "sample"}) {
    const ScratchDir scratch;
    const Outcome outcome =
        launch(distill(scratch / "run", {"--launch.teachers", "1", "--teacher.payload", payload,
                                         "--debug.fault", "2:5:nan"}),
               3, 60);
    EXPECT_EQ(outcome.code, 4) << payload << outcome.err;
    EXPECT_EQ(count(outcome.err, "error:"), 1u) << payload << outcome.err;
    EXPECT_NE(outcome.err.find("soft targets of teacher rank 2 for step 5, rows 0 to 0"),
              std::string::npos)
        << payload << outcome.err;
  }
}

TEST(SkippedRunTest, ATeachersFolderWithoutFiniteNumbersIsRefused) {
  const ScratchDir scratch;
  const Arguments teacher = {"train",       "--run.dir",
                             scratch / "t", "--model.layers",
                             "1",           "--model.width",
                             "32",          "--model.heads",
                             "2",           "--train.steps",
                             "1",           "--train.seq",
                             "16",          "--evaluate.max-tokens",
                             "128"};
  ASSERT_EQ(launch(teacher).code, 0);
  const std::string file = scratch / "t/model/model.safetensors";
  std::string bytes = read_text(file);
  for (size_t i = 1; i <= 4; ++i) bytes[bytes.size() - i] = static_cast<char>(0xff);  // a NaN
  write_text(file, bytes);
  const std::string path = scratch / "t/model";
  Arguments arguments = distill(scratch / "run", {"--teacher.path", path});
  for (const char* shape : {"--teacher.layers", "--teacher.width", "--teacher.heads"}) {
    const auto at = std::find(arguments.begin(), arguments.end(), shape);
    arguments.erase(at, at + 2);
  }
  const Outcome outcome = launch(arguments, 2, 60);
  EXPECT_EQ(outcome.code, 2) << outcome.err;
  EXPECT_EQ(count(outcome.err, "error:"), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find("--teacher.path " + path + ": the weights "), std::string::npos)
      << outcome.err;
}

TEST(SkippedRunTest, TrainSkipsAsWell) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const Outcome outcome = launch({"train",
                                  "--run.dir",
                                  dir,
                                  "--model.layers",
                                  "1",
                                  "--model.width",
                                  "32",
                                  "--model.heads",
                                  "2",
                                  "--train.steps",
                                  "8",
                                  "--train.seq",
                                  "16",
                                  "--train.batch",
                                  "4",
                                  "--train.micro-batch",
                                  "1",
                                  "--debug.fault",
                                  "1:3:nan,0:5:nan",
                                  "--evaluate.max-tokens",
                                  "128",
                                  "--train.checkpoint-keep",
                                  "0",
                                  "--train.checkpoint-every",
                                  "1"},
                                 2, 60);
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_TRUE(at::equal(weights(dir, 4), weights(dir, 3)));
  EXPECT_TRUE(at::equal(weights(dir, 6), weights(dir, 5)));
  const std::vector<Json> log = lines(dir);
  ASSERT_EQ(log.size(), 8u);
  EXPECT_EQ(log[3]["sequences"], Json::array({14}));
  EXPECT_EQ(log[5]["sequences"], Json::array({20}));
}

}  // namespace
}  // namespace temper
