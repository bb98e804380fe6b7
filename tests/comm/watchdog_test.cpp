// Watchdogs of real processes: ranks that compute, sleep, or wait in a circle.
#include "comm/watchdog.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <chrono>
#include <mutex>

namespace temper {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// What the node's watchdogs said while `work` ran, at most one text of all ranks.
std::string said_during(const Communicator& world, double deadline_seconds,
                        const std::function<void()>& work) {
  std::mutex mutex;
  std::string said;
  {
    const Watchdog watchdog(world, deadline_seconds, [&](const std::string& fault) {
      const std::lock_guard<std::mutex> lock(mutex);
      said += fault;
    });
    work();
  }
  std::string all;
  int speakers = 0;
  for (const std::string& each : world.all_gather(said)) {
    all += each;
    speakers += each.empty() ? 0 : 1;
  }
  EXPECT_LE(speakers, 1);
  return all;
}

void compute_for(double seconds) {
  const Clock::time_point start = Clock::now();
  volatile double sum = 0;
  while (seconds_since(start) < seconds) sum = sum + 1;
}

// What it cannot see it does not judge: a process that waits longer than the deadline may be right.
TEST(WatchdogTest, WithoutSharedMemoryNobodyIsJudged) {
  const Communicator world = Communicator::world();
  constexpr const char* kFolder = "OMPI_MCA_osc_sm_backing_directory";
  setenv(kFolder, "/proc", 1);  // has no room
  EXPECT_EQ(said_during(world, 1,
                        [&] {
                          if (world.rank() == 0) compute_for(3);
                          world.barrier();
                        }),
            "");
  const Watchdog watchdog(world, 1, [](const std::string&) {});
  unsetenv(kFolder);
  EXPECT_EQ(watchdog.note().empty(), false) << watchdog.note();
}

TEST(WatchdogTest, ARankThatSleepsWhileAnotherWaitsIsNamed) {
  const Communicator world = Communicator::world();
  const int sleeper = world.size() - 1;
  const std::string said = said_during(world, 1, [&] {
    activity().step = 5;
    if (world.rank() == sleeper) usleep(3'000'000);
    world.barrier();
    activity().step = -1;
  });
  if (world.size() == 1) {
    EXPECT_EQ(said, "");  // nobody waits for it
    return;
  }
  EXPECT_EQ(said.rfind("rank " + std::to_string(sleeper) + " on ", 0), 0u) << said;
  EXPECT_NE(said.find("start, step 5"), std::string::npos) << said;
  EXPECT_NE(said.find("waited for a barrier"), std::string::npos) << said;
}

TEST(WatchdogTest, ARankThatComputesIsNot) {
  const Communicator world = Communicator::world();
  EXPECT_EQ(said_during(world, 1,
                        [&] {
                          if (world.rank() == 0) compute_for(3);
                          world.barrier();
                        }),
            "");
}

// Others must not take it for work that has stood still as long as the wait, before the process's
// own watchdog has looked.
TEST(WatchdogTest, AWaitThatHasJustEndedIsNoFault) {
  const Communicator world = Communicator::world();
  if (world.size() < 3) GTEST_SKIP() << "one rank waits, one computes, the others do both in turn";
  EXPECT_EQ(said_during(world, 1,
                        [&] {
                          const auto wait_for = [](double seconds) {
                            const Waiting waiting(Operation::kFirstCredit);
                            usleep(static_cast<useconds_t>(seconds * 1e6));
                          };
                          if (world.rank() == 0) {
                            wait_for(8);
                          } else if (world.rank() == 1) {
                            compute_for(8);
                          } else {
                            for (int turn = 0; turn < 5; ++turn) {
                              wait_for(1.3);
                              compute_for(0.3);
                            }
                          }
                        }),
            "");
}

TEST(WatchdogTest, AWaitThatBringsSomethingBeginsAnew) {
  const Communicator world = Communicator::world();
  EXPECT_EQ(said_during(world, 1,
                        [&] {
                          const Waiting waiting(Operation::kGradients);
                          for (int i = 0; i < 12; ++i) {
                            usleep(250'000);
                            Waiting::moved();
                          }
                        }),
            "");
}

TEST(WatchdogTest, ACircleIsNamed) {
  const Communicator world = Communicator::world();
  const std::string said = said_during(world, 1, [&] {
    const Waiting waiting(Operation::kSoftTargets, 0);
    usleep(2'500'000);
  });
  EXPECT_NE(said.find("all ranks wait for each other"), std::string::npos) << said;
  EXPECT_NE(said.find("waited for soft targets from rank 0"), std::string::npos) << said;
}

TEST(ActivityTest, TheOuterWaitSaysWhatItIsFor) {
  const double before = Waiting::total_seconds();
  {
    const Waiting outer(Operation::kCredit, 4);
    const uint64_t moves = activity().moves;
    {
      const Waiting inner(Operation::kMessage);
      EXPECT_EQ(activity().waits_in, static_cast<uint64_t>(Operation::kCredit) | uint64_t{5} << 32);
    }
    EXPECT_GT(activity().moves, moves);
    EXPECT_NE(activity().waits_in, 0u);
    usleep(20'000);
  }
  EXPECT_EQ(activity().waits_in, 0u);
  EXPECT_GE(Waiting::total_seconds() - before, 0.02);
}

}  // namespace
}  // namespace temper
