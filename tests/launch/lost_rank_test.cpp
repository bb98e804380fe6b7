// Ranks that are stopped are named, once, and the job ends; ranks that are slow are named; whoever
// only waits for long is left in peace.
#include "tests/launch/lost_rank.h"

namespace temper {
namespace {

TEST(LostRankTest, AStoppedRankIsNamedOnce) {
  for (const int rank : {0, 1, 2}) {
    const End end = signal_rank(rank, SIGSTOP, 23 + 7 * rank, kTimeout + 10);
    std::printf("  rank %d stopped: over after %.1f s\n", rank, end.seconds);
    EXPECT_EQ(end.code, 5);
    EXPECT_GE(end.seconds, kTimeout - 0.5);  // it last looked around before
    EXPECT_EQ(count(end.log, "error:"), 1u) << end.log;
    const size_t at = end.log.find(": error: rank " + std::to_string(rank) + " on ");
    ASSERT_NE(at, std::string::npos) << end.log;
    const std::string line = end.log.substr(at, end.log.find('\n', at) - at);
    for (const std::string& part :
         {std::string("has not run for"), std::string("it is stopped by a signal"),
          std::string(rank == 2 ? "making soft targets, step " : "training, step "),
          std::string("--run.timeout 3 s")})
      EXPECT_NE(line.find(part), std::string::npos) << line;
    EXPECT_EQ(end.left, 0u);
  }
}

// The teacher waits while the students evaluate, the students while it is judged: longer than the
// deadline.
TEST(LostRankTest, ALongStageOfOthersIsNoFault) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  double seconds = 0;
  // As much as this machine needs to be longer than three deadlines.
  for (int64_t seeds = 2; seconds < 6; seeds *= 2) {
    ASSERT_LE(seeds, 64) << "too short to show anything";
    const Outcome outcome = launch(
        distill(dir, {"--train.steps", "4", "--run.timeout", "2", "--run.overwrite", "true",
                      "--evaluate.max-tokens", "32000", "--train.seq", "64", "--teacher.width",
                      "128", "--student.width", "128", "--compare.seeds", std::to_string(seeds)}),
        3, 180);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    seconds = outcome.seconds;
  }
  std::printf("  %.1f s with --run.timeout 2\n", seconds);
}

TEST(LostRankTest, ASlowRankIsNamed) {
  for (const auto& [fault, teachers, ranks] :
       {std::tuple{"1:0:slow", "1", 3}, std::tuple{"3:0:slow", "2", 4}}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    const Outcome outcome = launch(distill(dir, {"--debug.fault", fault, "--train.steps", "26",
                                                 "--launch.teachers", teachers}),
                                   ranks, 60);
    ASSERT_EQ(outcome.code, 0) << outcome.err;
    const std::string name = std::string("note    rank ") + fault[0] + " on ";
    EXPECT_EQ(count(outcome.err, " is slow: its own work took "), 1u) << outcome.err;
    EXPECT_NE(outcome.err.find(name), std::string::npos) << outcome.err;
  }
}

}  // namespace
}  // namespace temper
