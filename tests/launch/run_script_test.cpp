// launch/run.sh: signals, restarts after a crash, what it refuses; and a task of Slurm without PMI.
#include <fcntl.h>

#include <cstdlib>

#include "tests/launch/stop_job.h"

namespace temper {
namespace {

const std::string kScript = std::string(TEMPER_SOURCE_DIR) + "/launch/run.sh";

Arguments run_script(const Arguments& options, const Arguments& arguments) {
  return Arguments{kScript, "-n", "3", "--oversubscribe"} + options +
         Arguments{"--", TEMPER_PROGRAM} + arguments + Arguments{"--launch.teachers", "1"};
}

class RunScriptTest : public testing::TestWithParam<int> {};

TEST_P(RunScriptTest, SignalsSaveTheStateAndGiveTheExitCode) {
  for (const Phase phase : {Phase::kStart, Phase::kStep, Phase::kEvaluation, Phase::kSave}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    const Arguments arguments = stop_job(dir, phase);
    StartedJob job(run_script({"--max-restarts", "2"}, arguments), scratch / "log", dir);
    ASSERT_TRUE(reaches(job, dir, phase)) << name_of(phase) << read_text(scratch / "log");
    if (GetParam() == SIGINT) {
      job.interrupt();
    } else {
      job.send(GetParam());
    }
    const int code = job.wait();
    const std::string log = read_text(scratch / "log");
    SCOPED_TRACE(name_of(phase));
    expect_stopped(job, code, dir, phase, log);
    if (phase == Phase::kSave) expect_usable(arguments, dir);
  }
}

INSTANTIATE_TEST_SUITE_P(Signals, RunScriptTest, testing::Values(SIGUSR1, SIGTERM, SIGINT, SIGHUP),
                         signal_of);

TEST(RunScript, ASignalBeforeTheRanksBeginStopsThem) {
  for (const int milliseconds : {0, 50, 250}) {
    const ScratchDir scratch;
    const std::string dir = scratch / "run";
    // More steps than are done before run.sh sends the signal again, after 1, 3, 7, 15 ... seconds.
    const Arguments arguments = stop_job(dir, Phase::kStep) + Arguments{"--train.steps", "100000"};
    StartedJob job(run_script({}, arguments), scratch / "log", dir);
    ASSERT_TRUE(wait_until([&] { return StartedJob::catches(job.pid(), SIGTERM); }));
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    job.send(SIGTERM);
    EXPECT_EQ(job.wait(), kStoppedCode) << read_text(scratch / "log");
    EXPECT_TRUE(wait_until([&] { return job.ranks().empty(); }, 5));
  }
}

TEST(RunScript, ASecondInterruptEndsTheRanksAtOnce) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  // A step of many seconds, soon after the start.
  Arguments arguments = stop_job(dir, Phase::kStep);
  arguments.erase(std::find(arguments.begin(), arguments.end(), "--train.batch"), arguments.end());
  arguments = arguments + Arguments{"--train.batch", "16384", "--train.micro-batch",   "16",
                                    "--train.seq",   "64",    "--evaluate.max-tokens", "256"};
  StartedJob job(run_script({}, arguments), scratch / "log", dir);
  ASSERT_TRUE(wait_until([&] {
    return read_text(scratch / "log").find("folder") != std::string::npos;
  })) << read_text(scratch / "log");
  std::this_thread::sleep_for(std::chrono::seconds(2));
  job.interrupt();
  std::this_thread::sleep_for(std::chrono::milliseconds(500));
  ASSERT_TRUE(job.running()) << "the first interrupt must let the step end: "
                             << read_text(scratch / "log");
  job.interrupt();
  EXPECT_EQ(job.wait(4), 130) << read_text(scratch / "log");
  EXPECT_TRUE(wait_until([&] { return job.ranks().empty(); }, 4));
}

TEST(RunScript, ACrashedRunIsStartedAgainFromItsLastCheckpoint) {
  const ScratchDir scratch;
  const Arguments every = {"--train.checkpoint-every", "20", "--train.log-every", "100"};
  for (const size_t rank : {1, 2}) {  // a student, the teacher
    const std::string dir = scratch / ("run" + std::to_string(rank));
    // Some say it themselves, as the templates for Slurm do; a new run is made in the place of
    // another once.
    const Arguments given =
        rank == 1 ? Arguments{"--run.overwrite", "true"} : Arguments{"--run.resume", "auto"};
    StartedJob job(run_script({"--max-restarts", "1"}, stop_job(dir, Phase::kStep) + every + given),
                   scratch / "log", dir);
    ASSERT_TRUE(wait_until([&] { return steps_done(dir) >= 50; })) << read_text(scratch / "log");
    const std::vector<pid_t> ranks = job.ranks();
    ASSERT_EQ(ranks.size(), 3u);
    kill(ranks[rank], SIGKILL);
    const int code = job.wait();
    const std::string log = read_text(scratch / "log");
    EXPECT_NE(log.find("exit code 137; starting again from the last checkpoint (restart 1 of 1)"),
              std::string::npos)
        << log;
    EXPECT_TRUE(wait_until([&] { return job.ranks().empty(); }, 5));
    EXPECT_EQ(code, 0) << log;
    const std::string undisturbed = scratch / "undisturbed";
    if (!std::filesystem::exists(undisturbed)) {
      const Outcome outcome = launch(
          stop_job(undisturbed, Phase::kStep) + every + Arguments{"--launch.teachers", "1"}, 3);
      ASSERT_EQ(outcome.code, 0) << outcome.err;
    }
    EXPECT_EQ(metric(dir + "/metrics.jsonl", "loss"),
              metric(undisturbed + "/metrics.jsonl", "loss"));
  }
}

TEST(RunScript, ANamedCheckpointIsGoneBackToOnce) {
  const ScratchDir scratch;
  const std::string whole = scratch / "whole";
  const Arguments job = {"train", "--model.layers",
                         "1",     "--model.width",
                         "32",    "--model.heads",
                         "2",     "--train.steps",
                         "8",     "--train.batch",
                         "4",     "--train.seq",
                         "16",    "--train.checkpoint-every",
                         "2",     "--train.checkpoint-keep",
                         "0",     "--evaluate.max-tokens",
                         "128",   "--run.threads",
                         "1"};
  ASSERT_EQ(launch(job + Arguments{"--run.dir", whole}).code, 0);
  // Without the run's folder, which follows from the checkpoint, and with it.
  for (const bool named_folder : {false, true}) {
    const std::string dir = scratch / ("run" + std::to_string(named_folder));
    std::filesystem::copy(
        whole, dir,
        std::filesystem::copy_options::recursive | std::filesystem::copy_options::copy_symlinks);
    Arguments arguments =
        Arguments{kScript,          "-n", "1",  "--oversubscribe",
                  "--max-restarts", "1",  "--", TEMPER_PROGRAM} +
        job +
        Arguments{"--run.resume", dir + "/checkpoints/step-00000002", "--debug.fault", "0:5:kill"};
    if (named_folder) arguments = arguments + Arguments{"--run.dir", dir};
    StartedJob started(arguments, scratch / "log", dir);
    EXPECT_EQ(started.wait(60), 0) << read_text(scratch / "log");
    const std::string log = read_text(scratch / "log");
    EXPECT_NE(log.find("checkpoints/step-00000002: step 2"), std::string::npos) << log;
    EXPECT_NE(log.find("starting again from the last checkpoint"), std::string::npos) << log;
    // Those of the run that it went back from are not taken.
    for (const char* later : {"step-00000006: step 6", "step-00000008: step 8"})
      EXPECT_EQ(log.find(later), std::string::npos) << log;
    for (const char* key : {"step", "loss"})
      EXPECT_EQ(metric(dir + "/metrics.jsonl", key), metric(whole + "/metrics.jsonl", key)) << key;
  }
}

TEST(RunScript, RestartsAreCounted) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  StartedJob job(run_script({}, stop_job(dir, Phase::kStep)), scratch / "log", dir);
  ASSERT_TRUE(wait_until([&] { return steps_done(dir) >= 5; })) << read_text(scratch / "log");
  const std::vector<pid_t> ranks = job.ranks();
  ASSERT_EQ(ranks.size(), 3u);
  kill(ranks.back(), SIGKILL);
  EXPECT_EQ(job.wait(), 137) << "no restart without --max-restarts";
  EXPECT_EQ(read_text(scratch / "log").find("starting again"), std::string::npos);
}

TEST(RunScript, WhatCannotBeginIsNotStartedForEver) {
  const ScratchDir scratch;
  StartedJob job({kScript, "-n", "1", "--max-restarts", "1000", "--", "/bin/false", "--run.dir",
                  scratch / "run"},
                 scratch / "log", scratch / "run");
  EXPECT_EQ(job.wait(120), 1);
  const std::string log = read_text(scratch / "log");
  EXPECT_NE(log.find("(restart 4 of 1000)"), std::string::npos) << log;
  EXPECT_EQ(log.find("(restart 5 of 1000)"), std::string::npos) << log;
  EXPECT_NE(log.find("5 times in a row: not started again"), std::string::npos) << log;
}

TEST(RunScript, WhatWouldFailAgainIsNotStartedAgain) {
  const ScratchDir scratch;
  const auto code_of = [&](const Arguments& arguments) {
    StartedJob job(arguments, scratch / "log", scratch / "run");
    return job.wait();
  };
  const Arguments job = stop_job(scratch / "run", Phase::kStep);
  EXPECT_EQ(code_of(run_script({"--max-restarts", "3"}, job + Arguments{"--train.stepz", "4"})), 2);
  std::string log = read_text(scratch / "log");
  EXPECT_NE(log.find("train.steps"), std::string::npos) << log;
  EXPECT_EQ(log.find("starting again"), std::string::npos) << log;

  const Arguments diverges = {"--train.optimizer", "sgd", "--train.lr", "1e30",
                              "--train.clip",      "0"};
  EXPECT_EQ(code_of(run_script({"--max-restarts", "3"}, job + diverges)), 4);
  log = read_text(scratch / "log");
  EXPECT_EQ(log.find("starting again"), std::string::npos) << log;
}

TEST(RunScript, SaysWhatIsWrongWithItsOptions) {
  const ScratchDir scratch;
  const auto run = [&](const Arguments& arguments) {
    StartedJob job(Arguments{kScript} + arguments, scratch / "log", "no ranks");
    return job.wait(5);
  };
  EXPECT_EQ(run({"--help"}), 0);
  for (const char* words : {"--max-restarts", "--srun", "exit codes", "USR1"})
    EXPECT_NE(read_text(scratch / "log").find(words), std::string::npos) << words;
  for (const auto& [arguments, words] : std::vector<std::pair<Arguments, std::string>>{
           {{}, "no program to start"},
           {{"-n", "3", "temper", "distill"}, "no program to start"},
           {{"-n", "none", "--", "temper"}, "-n is 'none'"},
           {{"-n", "0", "--", "temper"}, "-n is '0'"},
           {{"--max-restarts", "-1", "--", "temper"}, "--max-restarts is '-1'"},
           {{"--max-restarts", "--", "temper"}, "no program to start"}}) {
    EXPECT_EQ(run(arguments), 2) << words;
    EXPECT_NE(read_text(scratch / "log").find(words), std::string::npos)
        << words << "\n"
        << read_text(scratch / "log");
  }
}

// Once the first crash has come it is too late to say so.
TEST(RunScript, ARunWithoutANameCannotBeStartedAgain) {
  const ScratchDir scratch;
  write_text(scratch / "named.ini", "[train]\nsteps = 4\n[run]\n  dir = some/run\n");
  write_text(scratch / "unnamed.ini", "[train]\ndir = some/run\n[run]\n# dir = a\ndir =\n");
  const auto code = [&](const Arguments& program) {
    StartedJob job(
        Arguments{kScript, "-n", "1", "--max-restarts", "1", "--", "/bin/true"} + program,
        scratch / "log", "no ranks");
    return job.wait(20);
  };
  for (const Arguments& unnamed :
       std::vector<Arguments>{{"distill"},
                              {"--config", scratch / "unnamed.ini"},
                              {"--config=" + scratch / "unnamed.ini"},
                              {"--config", scratch / "named.ini", "--run.dir", ""}}) {
    EXPECT_EQ(code(unnamed), 2) << unnamed.back();
    EXPECT_NE(read_text(scratch / "log").find("--max-restarts 1, but the run has no name"),
              std::string::npos)
        << read_text(scratch / "log");
  }
  for (const Arguments& named : std::vector<Arguments>{{"--run.dir", "some/run"},
                                                       {"--run.dir=some/run"},
                                                       {"--config", scratch / "named.ini"},
                                                       {"--config=" + scratch / "named.ini"}})
    EXPECT_EQ(code(named), 0) << named.back() << read_text(scratch / "log");
}

// The kernel sends HUP to run.sh, and whatever is written to the terminal fails from then on.
TEST(RunScript, ALostTerminalSavesTheState) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  const int terminal = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  ASSERT_GE(terminal, 0);
  ASSERT_EQ(grantpt(terminal), 0);
  ASSERT_EQ(unlockpt(terminal), 0);
  const std::string on_it =
      "exec setsid --ctty --wait \"$@\" <>" + std::string(ptsname(terminal)) + " >&0 2>&1";
  const Arguments arguments = stop_job(dir, Phase::kStep);
  StartedJob job(Arguments{"bash", "-c", on_it, "bash"} + run_script({}, arguments),
                 scratch / "log", dir);
  ASSERT_TRUE(reaches(job, dir, Phase::kStep)) << read_text(scratch / "log");
  close(terminal);
  EXPECT_EQ(job.wait(), kStoppedCode);
  EXPECT_TRUE(wait_until([&] { return job.ranks().empty(); }, 5));
  EXPECT_FALSE(std::filesystem::exists(dir + "/summary.json"));
  EXPECT_TRUE(std::filesystem::exists(dir + "/checkpoints/latest"));
  expect_usable(arguments, dir);
}

// run.sh in a batch job, with stand-ins: a launcher that ends with a given code once it is asked by
// SIGUSR1, and an scontrol that writes down what it is told.
class RequeueTest : public testing::Test {
 protected:
  RequeueTest() {
    script("scontrol", "echo \"$*\" >>" + scratch_ / "asked");
    // run.sh starts it with USR1 ignored, which bash could not trap.
    script("mpirun", "exec env --default-signal=USR1 bash -c 'trap \"exit $CODE\" USR1; touch " +
                         scratch_ / "begun" + "; while :; do sleep 0.02; done'");
  }
  void script(const std::string& name, const std::string& text) {
    write_text(scratch_ / name, "#!/bin/bash\n" + text + "\n");
    std::filesystem::permissions(scratch_ / name, std::filesystem::perms::owner_all);
  }
  /// What scontrol was told when run.sh had the launcher end with `code`; run.sh must end with
  /// `own`.
  std::string told(int code, int own, const Arguments& environment) {
    for (const char* name : {"asked", "begun"}) std::filesystem::remove(scratch_ / name);
    StartedJob job(
        Arguments{"env", "PATH=" + scratch_.path() + ":" + std::getenv("PATH"),
                  "CODE=" + std::to_string(code)} +
            environment +
            Arguments{kScript, "-n", "1", "--", "temper", "distill", "--run.dir", scratch_ / "run"},
        scratch_ / "log", "no ranks");
    EXPECT_TRUE(wait_until([&] { return std::filesystem::exists(scratch_ / "begun"); }));
    job.send(SIGUSR1);
    EXPECT_EQ(job.wait(), own) << log();
    return std::filesystem::exists(scratch_ / "asked") ? read_text(scratch_ / "asked") : "";
  }
  std::string log() const { return read_text(scratch_ / "log"); }
  ScratchDir scratch_;
};

TEST_F(RequeueTest, ATaskOfAnArrayIsRequeuedAlone) {
  const Arguments array = {"SLURM_ARRAY_JOB_ID=7", "SLURM_ARRAY_TASK_ID=3"};
  EXPECT_EQ(told(3, 3, array + Arguments{"SLURM_JOB_ID=7"}), "requeue 7_3\n");
  EXPECT_EQ(told(3, 3, array + Arguments{"SLURM_JOB_ID=8"}), "requeue 8\n");
}

TEST_F(RequeueTest, ACrashWhileLeavingDoesNotEndTheJob) {
  for (const int code : {1, 5, 137})
    EXPECT_EQ(told(code, code, {"SLURM_JOB_ID=7"}), "requeue 7\n") << code;
  EXPECT_EQ(told(138, 3, {"SLURM_JOB_ID=7"}), "requeue 7\n");
  for (const int code : {0, 2, 4}) EXPECT_EQ(told(code, code, {"SLURM_JOB_ID=7"}), "") << code;
}

TEST_F(RequeueTest, WhatNeverSavesAnythingIsNotRequeuedForEver) {
  const Arguments fourth = {"SLURM_JOB_ID=7", "SLURM_RESTART_COUNT=3"};
  EXPECT_EQ(told(138, 3, {"SLURM_JOB_ID=7", "SLURM_RESTART_COUNT=2"}), "requeue 7\n");
  for (const int code : {138, 3, 137}) {
    EXPECT_EQ(told(code, code == 137 ? 137 : 3, fourth), "") << code;
    EXPECT_NE(log().find("(--time) is not longer than the warning"), std::string::npos) << log();
  }
  std::filesystem::create_directories(scratch_ / "run/stages");
  write_text(scratch_ / "run/stages/teacher.json", "{}");
  for (const int code : {138, 137})
    EXPECT_EQ(told(code, code == 137 ? 137 : 3, fourth), "requeue 7\n") << code;
}

TEST(SlurmTest, ATaskWithoutPmiIsRefusedByTheFirstTaskAlone) {
  const ScratchDir scratch;
  const auto run = [&](const Arguments& environment, const Arguments& arguments) {
    StartedJob job(Arguments{"env"} + environment + Arguments{TEMPER_PROGRAM} + arguments,
                   scratch / "log", "no ranks");
    return job.wait(20);
  };
  const Arguments step = {"SLURM_STEP_ID=0", "SLURM_NTASKS=3", "SLURM_STEP_NUM_TASKS=3"};
  EXPECT_EQ(run(step + Arguments{"SLURM_PROCID=0"}, {"distill", "--dry-run"}), 2);
  const std::string words = read_text(scratch / "log");
  EXPECT_NE(words.find("SLURM_NTASKS is 3"), std::string::npos) << words;
  EXPECT_NE(words.find("srun --mpi=pmix"), std::string::npos) << words;
  EXPECT_EQ(std::count(words.begin(), words.end(), '\n'), 1) << words;
  EXPECT_EQ(run(step + Arguments{"SLURM_PROCID=1"}, {"distill", "--dry-run"}), 2);
  EXPECT_EQ(read_text(scratch / "log"), "") << "every task prints";
  // In the batch shell SLURM_NTASKS stands, too, and one process is right.
  EXPECT_EQ(run({"SLURM_NTASKS=3", "SLURM_PROCID=0"}, {"distill", "--dry-run"}), 0)
      << read_text(scratch / "log");
}

}  // namespace
}  // namespace temper
