// Runs whose rows the student writes itself, or mixes: the same on every layout of ranks, and
// nothing changes where it is not asked for.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

using Arguments = std::vector<std::string>;

class FreeRunningRunTest : public testing::Test {
 protected:
  Outcome distil(const std::string& name, int ranks, int teachers, const Arguments& more) const {
    Arguments arguments = {"distill",
                           "--run.dir",
                           scratch_ / name,
                           "--launch.teachers",
                           std::to_string(teachers),
                           "--teacher.layers",
                           "1",
                           "--teacher.width",
                           "48",
                           "--teacher.heads",
                           "4",
                           "--student.layers",
                           "1",
                           "--student.width",
                           "32",
                           "--student.heads",
                           "4",
                           "--train.steps",
                           "20",
                           "--train.batch",
                           "12",
                           "--train.micro-batch",
                           "3",
                           "--train.seq",
                           "32",
                           "--evaluate.max-tokens",
                           "256",
                           "--run.threads",
                           "1"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return launch(arguments, ranks);
  }
  std::vector<double> losses(const std::string& name) const {
    return metric(scratch_ / name + "/metrics.jsonl", "loss");
  }

  ScratchDir scratch_;
};

TEST_F(FreeRunningRunTest, EveryLayoutWritesTheSameRows) {
  const std::vector<Arguments> ways = {
      {"--train.on-policy", "0.5"},
      {"--train.on-policy", "1", "--teacher.payload", "hidden", "--loss.kind", "reverse-kl"},
      {"--train.scheduled-sampling", "0.5", "--teacher.transport", "messages"},
      {"--train.on-policy", "0.3", "--train.scheduled-sampling", "0.5", "--teacher.batch", "6"}};
  for (size_t way = 0; way < ways.size(); ++way) {
    const auto losses_of = [&](int ranks, int teachers, const std::string& seed) {
      const std::string name = "way" + std::to_string(way) + "-" + std::to_string(ranks) + "-" +
                               std::to_string(teachers) + "-" + seed;
      if (!std::filesystem::exists(scratch_ / name)) {
        Arguments more = ways[way];
        more.insert(more.end(), {"--run.seed", seed});
        const Outcome outcome = distil(name, ranks, teachers, more);
        EXPECT_EQ(outcome.code, 0) << outcome.err;
      }
      return losses(name);
    };
    // How many steps have the losses of one process, up to the first that has not.
    const auto steps_alike = [&](int ranks, int teachers, const std::string& seed) {
      const std::vector<double> expected = losses_of(0, 0, seed),
                                got = losses_of(ranks, teachers, seed);
      const auto alike = [](double a, double b) { return std::abs(a - b) <= 1e-4 * std::abs(b); };
      return std::mismatch(got.begin(), got.end(), expected.begin(), expected.end(), alike).first -
             got.begin();
    };
    for (const auto& [ranks, teachers] : {std::pair{2, 0}, {3, 1}, {4, 2}, {4, 3}}) {
      // A draw whose place lies within rounding of a boundary falls differently, with one seed on
      // this processor, with another on that one; hardly with two.
      if (steps_alike(ranks, teachers, "1") == 20) continue;
      EXPECT_EQ(steps_alike(ranks, teachers, "2"), 20)
          << "way " << way << ", " << ranks << " ranks, " << teachers << " teachers";
    }
  }
}

TEST_F(FreeRunningRunTest, AShareOfZeroChangesNoBit) {
  for (const int teachers : {0, 1}) {
    const std::string plain = "plain" + std::to_string(teachers),
                      zero = "zero" + std::to_string(teachers);
    ASSERT_EQ(distil(plain, 3, teachers, {}).code, 0);
    ASSERT_EQ(
        distil(zero, 3, teachers, {"--train.on-policy", "0", "--train.scheduled-sampling", "0"})
            .code,
        0);
    EXPECT_EQ(losses(plain), losses(zero));
    EXPECT_EQ(read_text(scratch_ / plain + "/student/model.safetensors"),
              read_text(scratch_ / zero + "/student/model.safetensors"));
  }
}

TEST_F(FreeRunningRunTest, TheComparisonCountsTheSameLabels) {
  ASSERT_EQ(
      distil("both", 0, 0, {"--train.completion-only", "true", "--compare.hard-labels", "true"})
          .code,
      0);
  const std::vector<double> tokens = metric(scratch_ / "both/metrics.jsonl", "tokens");
  ASSERT_EQ(tokens.size(), 20u);
  EXPECT_EQ(tokens[0], 12 * (32 - 7));
  EXPECT_EQ(metric(scratch_ / "both/hard-labels-metrics.jsonl", "tokens"), tokens);
}

TEST_F(FreeRunningRunTest, CompletionsOfATokenFileNeedItsRows) {
  const Outcome outcome = distil("any", 0, 0,
                                 {"--data.source", "tokens", "--data.tokens", "some.npy",
                                  "--data.vocab", "256", "--train.completion-only", "true"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("--train.completion-only true with --data.tokens some.npy"),
            std::string::npos)
      << outcome.err;
}

// Its own rows have no hard labels, and metrics say which steps these are, and the alpha they had.
TEST_F(FreeRunningRunTest, MetricsSayWhoWroteTheRows) {
  for (const std::string alpha : {"0.7", "0:0.9,100%:0.1"}) {
    const std::string name = alpha == "0.7" ? "half" : "scheduled";
    ASSERT_EQ(distil(name, 0, 0, {"--train.on-policy", "0.5", "--loss.alpha", alpha}).code, 0);
    const std::string path = scratch_ / name + "/metrics.jsonl";
    const std::string lines = read_text(path);
    EXPECT_NE(lines.find("\"on_policy\":true"), std::string::npos);
    EXPECT_NE(lines.find("\"on_policy\":false"), std::string::npos);
    const std::vector<double> loss = metric(path, "loss"), kl = metric(path, "kl"),
                              ce = metric(path, "ce"), used = metric(path, "alpha");
    ASSERT_EQ(loss.size(), 20u);
    for (size_t i = 0; i < loss.size(); ++i)  // T = 2
      EXPECT_NEAR(loss[i], used[i] * 4 * kl[i] + (1 - used[i]) * ce[i], 1e-9) << i;
  }
}

// Tokens that do not count in the loss are work, and travel, all the same.
TEST_F(FreeRunningRunTest, SpeedAndTrafficAreThoseOfAllTokens) {
  const std::vector<Arguments> ways = {
      {"--loss.tokens", "teacher-entropy", "--loss.token-share", "0.25"},
      {"--train.completion-only", "true", "--train.prompt", "24"}};
  for (size_t way = 0; way < ways.size(); ++way) {
    const std::string dir = scratch_ / "few" + std::to_string(way), path = dir + "/metrics.jsonl";
    ASSERT_EQ(distil("few" + std::to_string(way), 2, 1, ways[way]).code, 0);
    const std::vector<double> tokens = metric(path, "tokens"), speed = metric(path, "tokens_per_s"),
                              seconds = metric(path, "step_seconds"),
                              bytes = metric(path, "bytes_per_token");
    ASSERT_EQ(tokens.size(), 20u);
    for (size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_LT(tokens[i], 0.4 * 12 * 32);
      EXPECT_NEAR(speed[i] * seconds[i], 12 * 32, 1e-6);
      EXPECT_NEAR(bytes[i], 256 * 4, 1);  // logits in fp32, and a header for each message
    }
    const auto training = nlohmann::json::parse(read_text(dir + "/summary.json"))["training"];
    EXPECT_NEAR(training["tokens_per_s"].get<double>() * training["seconds"].get<double>(),
                20 * 12 * 32, 1e-3);
    EXPECT_NEAR(training["bytes_per_token"].get<double>(), 256 * 4, 1);
  }
}

TEST_F(FreeRunningRunTest, EvaluateJudgesWhatAModelWrites) {
  ASSERT_EQ(distil("run", 0, 0, {"--teacher.train-steps", "20"}).code, 0);
  nlohmann::json seen[2], whole[2];
  for (const int ranks : {0, 2}) {
    const Outcome outcome =
        launch({"evaluate", "--model.path", scratch_ / "run/student", "--evaluate.teacher",
                scratch_ / "run/teacher", "--evaluate.writes", "40", "--train.seq", "32",
                "--evaluate.max-tokens", "2048", "--run.threads", "1", "--json"},
               ranks);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    whole[ranks == 0 ? 0 : 1] = nlohmann::json::parse(outcome.out);
    seen[ranks == 0 ? 0 : 1] = whole[ranks == 0 ? 0 : 1]["writing"];
  }
  EXPECT_EQ(seen[0]["tokens"], 40 * 24);
  for (const char* key : {"nll", "teacher_nll", "corpus_nll", "teacher_corpus_nll"}) {
    EXPECT_GT(seen[0][key].get<double>(), 0) << key;
    EXPECT_NEAR(seen[0][key].get<double>(), seen[1][key].get<double>(), 1e-4) << key;
  }
  // Intervals hold the value; the exact KL is about what the sample says; neither depends on the
  // ranks.
  const nlohmann::json& one = whole[0];
  EXPECT_LT(one["intervals"]["nll"][0].get<double>(), one["nll"].get<double>());
  EXPECT_GT(one["intervals"]["nll"][1].get<double>(), one["nll"].get<double>());
  for (const int end : {0, 1})
    EXPECT_NEAR(one["intervals"]["nll"][end].get<double>(),
                whole[1]["intervals"]["nll"][end].get<double>(), 1e-6);
  EXPECT_NEAR(one["exact"]["kl"].get<double>(), whole[1]["exact"]["kl"].get<double>(), 1e-6);
  EXPECT_NEAR(one["exact"]["kl"].get<double>(),
              one["nll"].get<double>() - one["entropy_floor"].get<double>(), 0.1);
}

// Sequence-level distillation: the teacher writes the corpus, the student is trained on it.
TEST_F(FreeRunningRunTest, ATeacherWritesACorpus) {
  ASSERT_EQ(distil("run", 0, 0, {"--teacher.train-steps", "20"}).code, 0);
  const auto write = [&](const std::string& file, int ranks, const Arguments& more) {
    Arguments arguments = {"write",
                           "--model.path",
                           scratch_ / "run/teacher",
                           "--train.seq",
                           "32",
                           "--write.rows",
                           "37",
                           "--write.batch",
                           "8",
                           "--run.threads",
                           "1",
                           "--write.output",
                           scratch_ / file};
    arguments.insert(arguments.end(), more.begin(), more.end());
    const Outcome outcome = launch(arguments, ranks);
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return read_text(scratch_ / file);
  };
  const std::string alone = write("alone.npy", 0, {});
  EXPECT_EQ(alone.size(), 128u + 37 * 32 * 2);  // NumPy's header, two bytes an id
  const Outcome again = launch({"write", "--model.path", scratch_ / "run/teacher", "--train.seq",
                                "32", "--write.output", scratch_ / "alone.npy"});
  EXPECT_EQ(again.code, 2);
  EXPECT_NE(again.err.find("alone.npy: this file is there already; remove it"), std::string::npos)
      << again.err;
  EXPECT_EQ(write("three.npy", 3, {}), alone);
  const std::string greedy = write("greedy.npy", 2, {"--write.temperature", "0"});
  EXPECT_NE(greedy, alone);
  EXPECT_EQ(write("beams.npy", 0, {"--write.temperature", "0", "--write.beams", "3"}).size(),
            alone.size());
  const Outcome trained = launch({"train",
                                  "--run.dir",
                                  scratch_ / "student",
                                  "--data.source",
                                  "tokens",
                                  "--data.tokens",
                                  scratch_ / "alone.npy",
                                  "--data.vocab",
                                  "256",
                                  "--data.aligned-rows",
                                  "true",
                                  "--train.completion-only",
                                  "true",
                                  "--train.seq",
                                  "32",
                                  "--train.batch",
                                  "4",
                                  "--train.steps",
                                  "5",
                                  "--model.layers",
                                  "1",
                                  "--model.width",
                                  "32",
                                  "--model.heads",
                                  "4",
                                  "--evaluate.max-tokens",
                                  "64"});
  ASSERT_EQ(trained.code, 0) << trained.err;
  for (const double tokens : metric(scratch_ / "student/metrics.jsonl", "tokens"))
    EXPECT_EQ(tokens, 4 * (32 - 8));  // of each row, what was written behind its 8 tokens of prompt
}

TEST_F(FreeRunningRunTest, RecordedTargetsAreRefused) {
  const Outcome outcome =
      distil("tee", 0, 0, {"--train.on-policy", "0.5", "--teacher.tee", scratch_ / "store"});
  EXPECT_EQ(outcome.code, 2);
  EXPECT_NE(outcome.err.find("--train.on-policy with --teacher.tee"), std::string::npos)
      << outcome.err;
}

}  // namespace
}  // namespace temper
