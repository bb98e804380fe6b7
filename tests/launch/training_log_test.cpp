// What a stage of training says of its steps and at its end.
#include "launch/training_log.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "launch/training_summary.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

/// A stage with soft targets has a source; the log asks it for nothing.
class NoSoftTargets : public SoftTargetSource {
 public:
  SoftTargets targets(const MicroBatchId&, const at::Tensor&) override { return {}; }
  PayloadView payload() const override { return {}; }
  double take_wait_seconds() override { return 0; }
  int64_t take_bytes() override { return 0; }
};

/// A step of 4 · 16 tokens, of which a quarter counts.
StepResult result_of(int64_t step) {
  StepResult result;
  result.step = step;
  result.tokens = 16;
  result.seconds = 2;
  result.bytes = 640;
  return result;
}

std::vector<nlohmann::ordered_json> log_steps(TrainingStage& stage, const ScratchDir& scratch) {
  NoSoftTargets source;
  stage.source = &source;
  stage.train.steps = 20;
  stage.train.batch = 4;
  stage.train.seq = 16;
  stage.metrics_path = scratch / "metrics.jsonl";
  {
    TrainingLog log(stage);
    for (int64_t step = 0; step < 20; ++step) log.add(result_of(step), {}, 0, false);
  }
  return read_metrics_before(stage.metrics_path, 20);
}

TEST(TrainingLogTest, SpeedAndTrafficAreThoseOfAllTokens) {
  const ScratchDir scratch;
  TrainingStage stage;
  const auto lines = log_steps(stage, scratch);
  ASSERT_EQ(lines.size(), 20u);
  for (const auto& line : lines) {
    EXPECT_EQ(line["tokens"], 16);
    EXPECT_EQ(line["tokens_per_s"], 32.0);     // 64 tokens in 2 s
    EXPECT_EQ(line["bytes_per_token"], 10.0);  // 640 bytes for 64 tokens
    EXPECT_FALSE(line.contains("alpha"));
  }
}

TEST(TrainingLogTest, SoAreThoseOfTheSummary) {
  TrainingTotals totals;
  for (int64_t step = 0; step < 3; ++step) totals.add(result_of(step), {}, 64);
  totals.seconds = 8;
  TrainingTotals again;  // as a checkpoint has them
  again.read(totals.to_json());
  EXPECT_EQ(again.summary().tokens_per_second, 24);
  EXPECT_EQ(again.summary().bytes_per_token, 10);
}

TEST(TrainingLogTest, AlphaIsThatOfTheStepNotOfTheOption) {
  for (const bool scheduled : {false, true}) {
    const ScratchDir scratch;
    TrainingStage stage;
    stage.train.free_running.on_policy = 0.5;
    stage.loss.alpha = 0.7;
    if (scheduled) stage.loss.alpha_schedule = Schedule::parse("0:0.9,100%:0.1", "loss.alpha");
    int written = 0;
    for (const auto& line : log_steps(stage, scratch)) {
      const bool writes = line["on_policy"].get<bool>();
      const double own = stage.loss.at(line["step"].get<int64_t>(), 20).alpha;
      EXPECT_EQ(line["alpha"], writes ? 1.0 : own) << line.dump();
      written += writes ? 1 : 0;
    }
    EXPECT_GT(written, 0);
    EXPECT_LT(written, 20);
  }
}

TEST(TrainingLogTest, ADivergenceThatIsNotComputedIsNull) {
  const ScratchDir scratch;
  TrainingStage stage;
  stage.loss.alpha_schedule = Schedule::parse("step 0:0.5,10:0", "loss.alpha");
  for (const auto& line : log_steps(stage, scratch)) {
    const bool weighed = line["step"].get<int64_t>() < 10;
    EXPECT_EQ(line["kl"].is_number(), weighed) << line.dump();
    EXPECT_EQ(line["kl"].is_null(), !weighed) << line.dump();
    EXPECT_TRUE(line["ce"].is_number());
  }
  // On what the student writes alpha is 1.
  const ScratchDir other;
  TrainingStage own;
  own.loss.alpha = 0;
  own.train.free_running.on_policy = 0.5;
  for (const auto& line : log_steps(own, other))
    EXPECT_EQ(line["kl"].is_number(), line["on_policy"].get<bool>()) << line.dump();
  // Nor is it on hard labels.
  TrainingStage hard;
  hard.metrics_path = scratch / "hard.jsonl";
  TrainingLog(hard).add(result_of(0), {}, 0, false);
  EXPECT_TRUE(read_metrics_before(hard.metrics_path, 1)[0]["kl"].is_null());
}

/// As NoSoftTargets, from a store or not.
class Replays : public NoSoftTargets {
 public:
  explicit Replays(bool replays) : replays_(replays) {}
  bool replays() const override { return replays_; }

 private:
  bool replays_;
};

TEST(TrainingLogTest, OnlyARunThatReplaysWaitsForTheStore) {
  for (const bool replays : {false, true}) {
    Replays source(replays);
    TrainingStage stage;
    stage.source = &source;
    testing::internal::CaptureStderr();
    TrainingLog(stage).add(result_of(0), {}, 0, /*shown=*/true);
    const std::string said = testing::internal::GetCapturedStderr();
    EXPECT_EQ(said.find("waited for the store") != std::string::npos, replays) << said;
  }
}

}  // namespace
}  // namespace temper
