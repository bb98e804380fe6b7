// The real program over each transport: soft targets arrive the same whatever carries them.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

constexpr size_t kSteps = 12;

/// All that a run printed.
std::string printed(const Outcome& outcome) { return outcome.out + outcome.err; }

class TransportTest : public testing::Test {
 protected:
  /// `temper distill` on the built-in language with some more options.
  Outcome distil(const std::string& name, int ranks, int teachers,
                 const std::vector<std::string>& more) const {
    std::vector<std::string> arguments = {"distill",
                                          "--run.dir",
                                          scratch_ / name,
                                          "--launch.teachers",
                                          std::to_string(teachers),
                                          "--teacher.layers",
                                          "2",
                                          "--teacher.width",
                                          "48",
                                          "--teacher.heads",
                                          "4",
                                          "--student.layers",
                                          "2",
                                          "--student.width",
                                          "32",
                                          "--student.heads",
                                          "4",
                                          "--train.steps",
                                          std::to_string(kSteps),
                                          "--train.batch",
                                          "12",
                                          "--train.micro-batch",
                                          "2",
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

TEST_F(TransportTest, MessagesAndSharedMemoryGiveTheSameRunBitForBit) {
  const Outcome messages = distil("messages", 3, 1, {"--teacher.transport", "messages"});
  ASSERT_EQ(messages.code, 0) << messages.err;
  EXPECT_NE(printed(messages).find("2 pairs by messages"), std::string::npos) << printed(messages);
  const Outcome shared = distil("shared", 3, 1, {"--teacher.transport", "shared"});
  ASSERT_EQ(shared.code, 0) << shared.err;
  EXPECT_NE(printed(shared).find("2 pairs through shared memory"), std::string::npos)
      << printed(shared);
  ASSERT_EQ(losses("messages").size(), kSteps);
  EXPECT_EQ(losses("messages"), losses("shared"));
  EXPECT_EQ(metric(scratch_ / "messages/metrics.jsonl", "bytes_per_token"),
            metric(scratch_ / "shared/metrics.jsonl", "bytes_per_token"));
  for (const Outcome& run : {messages, shared})
    EXPECT_EQ(run.err.find("not complete at MPI_Finalize"), std::string::npos) << run.err;
  // Every step has its fill, a share.
  const std::vector<double> fill = metric(scratch_ / "shared/metrics.jsonl", "lookahead_fill");
  ASSERT_EQ(fill.size(), kSteps);
  for (const double share : fill) {
    EXPECT_GE(share, 0);
    EXPECT_LE(share, 1);
  }
  EXPECT_NE(printed(shared).find(", ahead "), std::string::npos) << printed(shared);
}

TEST_F(TransportTest, ATeachersBatchChangesNothingButRounding) {
  const std::vector<std::string> payload = {"--teacher.payload", "sample", "--teacher.lookahead",
                                            "4"};
  ASSERT_EQ(distil("one", 4, 2, payload).code, 0);
  ASSERT_EQ(losses("one").size(), kSteps);
  for (const char* transport : {"messages", "shared"}) {
    std::vector<std::string> more = payload;
    more.insert(more.end(), {"--teacher.batch", "7", "--teacher.transport", transport});
    const Outcome outcome = distil(transport, 4, 2, more);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const std::vector<double> one = losses("one"), many = losses(transport);
    ASSERT_EQ(many.size(), kSteps);
    for (size_t step = 0; step < kSteps; ++step)
      EXPECT_NEAR(many[step] / one[step], 1, 1e-4) << transport << ", step " << step;
  }
}

TEST_F(TransportTest, LockStepHasNoFillAndDoesNotStandStill) {
  const Outcome outcome =
      distil("lock-step", 3, 1, {"--teacher.lookahead", "0", "--teacher.batch", "8"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  EXPECT_EQ(printed(outcome).find(", ahead "), std::string::npos) << printed(outcome);
  EXPECT_EQ(read_text(scratch_ / "lock-step/metrics.jsonl").find("lookahead_fill"),
            std::string::npos);
}

TEST_F(TransportTest, WhatCannotBeIsRefusedAtStart) {
  const Outcome nccl = distil("nccl", 2, 1, {"--teacher.transport", "nccl", "--run.device", "cpu"});
  EXPECT_EQ(nccl.code, 2);
  EXPECT_NE(nccl.err.find("--teacher.transport nccl cannot serve: "), std::string::npos)
      << nccl.err;
  const Outcome pigeon = distil("pigeon", 2, 1, {"--teacher.transport", "pigeon"});
  EXPECT_EQ(pigeon.code, 2);
  EXPECT_NE(pigeon.err.find("give auto, messages, shared or nccl"), std::string::npos)
      << pigeon.err;
}

}  // namespace
}  // namespace temper
