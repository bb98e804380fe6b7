// The rules of the watchdog, on processes as it would see them.
#include <gtest/gtest.h>

#include "comm/watchdog.h"

namespace temper {
namespace {

constexpr double kDeadline = 10;

ProcessView waits(int rank, double still, Operation operation = Operation::kGradients) {
  return {.rank = rank,
          .pid = 1,
          .waits_in = operation,
          .peer = -1,
          .step = 17,
          .phase = Phase::kTraining,
          .silent_seconds = 0.1,
          .still_seconds = still};
}

ProcessView works(int rank, double still) {
  ProcessView view = waits(rank, still, Operation::kNone);
  return view;
}

std::string fault(const std::vector<ProcessView>& node, bool whole_job = true) {
  return find_fault(node, kDeadline, whole_job, "HOST").value_or("");
}

TEST(WatchdogRulesTest, WhoComputesIsNeverAtFault) {
  EXPECT_EQ(fault({waits(0, 1e6), works(1, 0.5), waits(2, 1e6)}), "");
  EXPECT_EQ(fault({works(0, 0), works(1, 0)}), "");
}

TEST(WatchdogRulesTest, NamesWhoIsSilent) {
  ProcessView silent = waits(1, 11, Operation::kSoftTargets);
  silent.peer = 3;
  silent.silent_seconds = 11;
  const std::string text = fault({waits(0, 11), silent});
  EXPECT_NE(text.find("rank 1 on HOST"), std::string::npos) << text;
  EXPECT_NE(text.find("has not run for 11.0 s"), std::string::npos) << text;
  EXPECT_NE(text.find("training, step 17, it waited for soft targets from rank 3"),
            std::string::npos)
      << text;
  EXPECT_NE(text.find("; rank 0 waited for the reduction of gradients"), std::string::npos) << text;
  silent.silent_seconds = kDeadline;  // not beyond it
  EXPECT_EQ(fault({works(0, 0), silent}), "");
}

TEST(WatchdogRulesTest, NamesWhoNeitherWaitsNorComputes) {
  const std::string text = fault({waits(0, 11), works(1, 11), works(2, 1)});
  EXPECT_EQ(text.rfind("rank 1 on HOST (process 1) has neither computed nor waited", 0), 0u)
      << text;
  EXPECT_NE(text.find("rank 0 waited for the reduction of gradients"), std::string::npos) << text;
  EXPECT_EQ(fault({works(0, 11), works(1, 11)}), "") << "nobody waits: a prompt, a slow disk";
}

TEST(WatchdogRulesTest, ACircleIsAFault) {
  const std::string text = fault({waits(0, 12), waits(1, 11, Operation::kBarrier)});
  EXPECT_NE(text.find("all ranks wait for each other for 11.0 s"), std::string::npos) << text;
  EXPECT_NE(text.find("rank 1 waited for a barrier (training, step 17)"), std::string::npos)
      << text;
  EXPECT_EQ(fault({waits(0, 12), waits(1, 9)}), "");
}

TEST(WatchdogRulesTest, OtherNodesGetTheirChanceFirst) {
  EXPECT_EQ(fault({waits(0, 12), waits(1, 12)}, false), "");
  const std::string text = fault({waits(0, 16), waits(1, 16)}, false);
  EXPECT_NE(text.find("ranks of other nodes"), std::string::npos) << text;
  // Another role's stage may take as long as it likes.
  EXPECT_EQ(fault({waits(0, 1e6, Operation::kBarrier)}, false), "");
  EXPECT_EQ(fault({waits(0, 1e6, Operation::kFirstCredit)}, false), "");
  ProcessView starting = waits(0, 1e6, Operation::kAllReduce);
  starting.phase = Phase::kStart;
  EXPECT_EQ(fault({starting}, false), "");
}

}  // namespace
}  // namespace temper
