// Ranks that are killed, or end by an exception: the job is over soon and no process is left.
#include "tests/launch/lost_rank.h"

namespace temper {
namespace {

TEST(KilledRankTest, AKilledRankEndsTheJob) {
  for (const int rank : {0, 1, 2}) {
    const End end = signal_rank(rank, SIGKILL, 31 + 5 * rank, 15);
    std::printf("  rank %d killed: over after %.1f s, exit code %d\n", rank, end.seconds, end.code);
    EXPECT_NE(end.code, 0);
    EXPECT_EQ(end.left, 0u);
  }
}

// At a place in the step that a signal from outside would rarely meet.
TEST(KilledRankTest, SoDoesOneThatIsKilledInTheForwardPassInACollectiveOrInASave) {
  for (const std::string fault :
       {"0:39:kill@forward", "1:39:kill@forward", "2:39:kill@forward", "0:39:kill@comm",
        "1:39:kill@comm", "2:39:kill@comm", "0:39:kill@save", "1:39:kill@save"}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    const Outcome outcome = launch(distill(dir, {"--debug.fault", fault}), 3, 60);
    const std::string mark = dir + "/fault-" + fault.substr(0, 1) + "-39-kill";
    ASSERT_TRUE(std::filesystem::exists(mark)) << fault << outcome.err;
    const std::chrono::duration<double> after =
        std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(mark);
    std::printf("  %-18s exit code %d after %.1f s\n", fault.c_str(), outcome.code, after.count());
    EXPECT_EQ(outcome.code, 137) << fault;
    EXPECT_LE(after.count(), 15) << fault;
    EXPECT_GE(steps_done(dir), 30) << fault << "\n" << outcome.err;
    EXPECT_LE(steps_done(dir), 40) << fault;
    EXPECT_TRUE(processes_with(dir).empty()) << fault;
  }
}

TEST(KilledRankTest, AFaultStrikesOnce) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const Arguments arguments =
      distill(dir, {"--debug.fault", "1:5:kill", "--train.steps", "8", "--run.overwrite", "true"});
  EXPECT_EQ(launch(arguments, 3, 60).code, 137);
  const Outcome again = launch(arguments, 3, 60);
  EXPECT_EQ(again.code, 0) << again.err;
}

TEST(KilledRankTest, AnExceptionOfOneRankIsOneMessage) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const Outcome outcome = launch(distill(dir, {"--debug.fault", "1:9:throw@comm"}), 3, 60);
  EXPECT_EQ(outcome.code, 1);
  EXPECT_EQ(count(outcome.err, "error:"), 1u) << outcome.err;
  EXPECT_NE(outcome.err.find("step 9: the fault 1:9:throw@comm"), std::string::npos) << outcome.err;
  EXPECT_TRUE(processes_with(dir).empty());
}

}  // namespace
}  // namespace temper
