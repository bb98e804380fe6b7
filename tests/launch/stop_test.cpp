// Signals to temper itself and to mpirun: the step is finished, the state saved, the exit code 3,
// and no rank waits for another.
#include "tests/launch/stop_job.h"

namespace temper {
namespace {

Arguments under_mpirun(int ranks) {
  return {TEMPER_MPIEXEC, "--oversubscribe",     "--bind-to",   "none",
          "-n",           std::to_string(ranks), TEMPER_PROGRAM};
}

class StopTest : public testing::TestWithParam<int> {};

TEST_P(StopTest, OneProcessSavesAndLeaves) {
  for (const Phase phase : {Phase::kStart, Phase::kStep, Phase::kEvaluation, Phase::kSave}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    const Arguments arguments = stop_job(dir, phase);
    StartedJob job(Arguments{TEMPER_PROGRAM} + arguments, scratch / "log", dir);
    ASSERT_TRUE(reaches(job, dir, phase)) << name_of(phase) << read_text(scratch / "log");
    job.send(GetParam());
    const int code = job.wait();
    const std::string log = read_text(scratch / "log");
    SCOPED_TRACE(name_of(phase));
    expect_stopped(job, code, dir, phase, log);
    EXPECT_NE(log.find("stopped by " + signal_name(GetParam())), std::string::npos) << log;
    if (phase == Phase::kSave || phase == Phase::kStep) expect_usable(arguments, dir);
    std::printf("  %-10s %s", name_of(phase), log.substr(log.rfind("temper: ")).c_str());
  }
}

INSTANTIATE_TEST_SUITE_P(Signals, StopTest, testing::Values(SIGUSR1, SIGTERM, SIGINT), signal_of);

TEST(StopRanksTest, TeachersAndStudentsLeaveWithNothingUnderWay) {
  const std::vector<Arguments> streams = {
      {"--teacher.transport", "shared", "--teacher.lookahead", "3"},
      {"--teacher.transport", "messages", "--teacher.lookahead", "3", "--train.micro-batch", "1"},
      {"--teacher.transport", "messages", "--teacher.lookahead", "0"},
      {"--teacher.transport", "shared", "--train.on-policy", "0.7", "--train.micro-batch", "2"},
      {"--teacher.transport", "messages", "--train.on-policy", "0.7", "--teacher.batch", "6"}};
  for (size_t i = 0; i < streams.size(); ++i) {
    for (const int teachers : {1, 3}) {
      const ScratchDir scratch;
      const std::string dir = scratch / "run";
      // Two students of three rows each, so one micro-batch of a step or three; three teachers:
      // some have no work in a step.
      const Arguments arguments = stop_job(dir, Phase::kStep) + streams[i] +
                                  Arguments{"--launch.teachers", std::to_string(teachers)};
      StartedJob job(under_mpirun(2 + teachers) + arguments, scratch / "log", dir);
      ASSERT_TRUE(reaches(job, dir, Phase::kStep)) << read_text(scratch / "log");
      job.send(SIGUSR1);
      const int code = job.wait();
      SCOPED_TRACE("stream " + std::to_string(i) + ", teachers " + std::to_string(teachers));
      expect_stopped(job, code, dir, Phase::kStep, read_text(scratch / "log"));
    }
  }
}

TEST(StopRanksTest, OneRankThatIsAskedStopsAll) {
  for (const size_t rank : {0, 1, 2}) {  // rank 2 is the teacher
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    const Arguments arguments = stop_job(dir, Phase::kStep) + Arguments{"--launch.teachers", "1"};
    StartedJob job(under_mpirun(3) + arguments, scratch / "log", dir);
    ASSERT_TRUE(reaches(job, dir, Phase::kStep)) << read_text(scratch / "log");
    const std::vector<pid_t> ranks = job.ranks();
    ASSERT_EQ(ranks.size(), 3u);
    kill(ranks[rank], SIGTERM);
    const int code = job.wait();
    SCOPED_TRACE("rank " + std::to_string(rank));
    expect_stopped(job, code, dir, Phase::kStep, read_text(scratch / "log"));
  }
}

TEST(StopRanksTest, TheTeachersTrainingAndTheOtherStagesStopToo) {
  for (const Arguments& stage : {Arguments{"--teacher.train-steps", "100000"},
                                 Arguments{"--train.steps", "3", "--compare.seeds", "1000"},
                                 Arguments{"--train.steps", "3", "--compare.hard-labels", "true",
                                           "--compare.seeds", "1000"}}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    Arguments arguments = stop_job(dir, Phase::kEvaluation);
    arguments.resize(arguments.size() - 4);  // its steps and tokens
    arguments =
        arguments + Arguments{"--evaluate.max-tokens", "256", "--launch.teachers", "1"} + stage;
    StartedJob job(under_mpirun(3) + arguments, scratch / "log", dir);
    ASSERT_TRUE(wait_until([&] {
      return steps_done(dir) == 3 || !read_text(dir + "/teacher-metrics.jsonl").empty();
    })) << read_text(scratch / "log");
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    job.send(SIGUSR1);
    EXPECT_EQ(job.wait(), kStoppedCode) << read_text(scratch / "log");
    EXPECT_TRUE(wait_until([&] { return job.ranks().empty(); }, 5));
    EXPECT_FALSE(std::filesystem::exists(dir + "/summary.json"));
  }
}

TEST(StopRanksTest, ASecondInterruptEndsTheProcessAtOnce) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  // A step of many seconds.
  Arguments arguments = stop_job(dir, Phase::kEvaluation);
  arguments.resize(arguments.size() - 4);
  arguments =
      Arguments{"train", "--run.dir",           dir,   "--run.threads", "1", "--model.layers",
                "4",     "--model.width",       "128", "--model.heads", "4", "--train.batch",
                "4096",  "--train.micro-batch", "16",  "--train.seq",   "64"};
  StartedJob job(Arguments{TEMPER_PROGRAM} + arguments, scratch / "log", dir);
  ASSERT_TRUE(wait_until([&] {
    return read_text(scratch / "log").find("folder") != std::string::npos;
  })) << read_text(scratch / "log");
  std::this_thread::sleep_for(std::chrono::milliseconds(300));
  job.send(SIGINT);
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  ASSERT_TRUE(job.running()) << "the first interrupt must let the step end";
  job.send(SIGINT);
  EXPECT_EQ(job.wait(2), 130);
}

TEST(StopRanksTest, CommandsThatSaveNothingEndAtOnce) {
  const ScratchDir scratch;
  // Models that are large enough to take a while.
  const std::string dir = scratch / "run";
  StartedJob job(
      {TEMPER_PROGRAM, "plan", "--run.dir", dir, "--run.threads", "1", "--teacher.layers", "8",
       "--teacher.width", "512", "--train.seq", "256", "--train.batch", "64"},
      scratch / "log", dir);
  ASSERT_TRUE(wait_until([&] { return !job.ranks().empty(); }));
  std::this_thread::sleep_for(std::chrono::seconds(1));
  ASSERT_TRUE(job.running()) << read_text(scratch / "log");
  job.send(SIGTERM);
  EXPECT_EQ(job.wait(2), 128 + SIGTERM);
}

}  // namespace
}  // namespace temper
