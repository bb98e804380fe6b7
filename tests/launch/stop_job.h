// A small job that tests of signals stop while it starts, in a step, while it evaluates, and while
// it saves.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"
#include "tests/launch/started_job.h"

namespace temper {

enum class Phase { kStart, kStep, kEvaluation, kSave };
inline const char* name_of(Phase phase) {
  const char* const names[] = {"start", "step", "evaluation", "save"};
  return names[static_cast<int>(phase)];
}

inline std::string signal_name(int signal) {
  return signal == SIGUSR1   ? "SIGUSR1"
         : signal == SIGTERM ? "SIGTERM"
         : signal == SIGHUP  ? "SIGHUP"
                             : "SIGINT";
}
inline std::string signal_of(const testing::TestParamInfo<int>& test) {
  return signal_name(test.param);
}

constexpr int kStoppedCode = 3;

/// The arguments of a job that is long enough to be met in `phase`.
inline Arguments stop_job(const std::string& dir, Phase phase) {
  Arguments job = {"distill", "--run.dir",       dir,  "--run.threads",   "1", "--teacher.layers",
                   "1",       "--teacher.width", "32", "--teacher.heads", "2", "--student.layers",
                   "2",       "--student.width", "96", "--student.heads", "4", "--train.batch",
                   "6",       "--train.seq",     "32", "--train.warmup",  "2"};
  switch (phase) {
    case Phase::kEvaluation:
      return job + Arguments{"--train.steps", "4", "--evaluate.max-tokens", "16384"};
    case Phase::kSave:
      return job + Arguments{"--train.steps",         "400", "--train.checkpoint-every", "1",
                             "--evaluate.max-tokens", "256"};
    default:
      return job + Arguments{"--train.steps", "400", "--evaluate.max-tokens", "256"};
  }
}

inline int64_t steps_done(const std::string& dir) {
  const std::string text = read_text(dir + "/metrics.jsonl");
  return std::count(text.begin(), text.end(), '\n');
}

/// True while a file of a checkpoint is being written.
inline bool is_saving(const std::string& dir) {
  namespace fs = std::filesystem;
  std::error_code ignored;
  for (fs::recursive_directory_iterator at(dir + "/checkpoints", ignored), end; at != end;
       at.increment(ignored)) {
    if (at->path().filename().string().find(".tmp") != std::string::npos) return true;
    if (ignored) break;
  }
  return false;
}

/// Waits until `job` is in `phase`.
inline bool reaches(StartedJob& job, const std::string& dir, Phase phase) {
  return wait_until([&] {
    switch (phase) {
      case Phase::kStart: {
        const std::vector<pid_t> ranks = job.ranks();
        return !ranks.empty() && StartedJob::catches(ranks.front(), SIGUSR1);
      }
      case Phase::kStep:
        return steps_done(dir) >= 5;
      case Phase::kEvaluation:
        return steps_done(dir) == 4;
      case Phase::kSave:
        return steps_done(dir) >= 2 && is_saving(dir);
    }
    return false;
  });
}

/// The folder that the job says its state is in; empty: it says that there is none.
inline std::string saved_in(const std::string& log) {
  std::smatch found;
  return std::regex_search(log, found, std::regex("saved in ([^ ;\n]+)")) ? found[1].str() : "";
}

/// What a job that was stopped in `phase` must have left behind. `code` is its exit code.
inline void expect_stopped(StartedJob& job, int code, const std::string& dir, Phase phase,
                           const std::string& log) {
  EXPECT_EQ(code, kStoppedCode) << log;
  EXPECT_TRUE(wait_until([&] { return job.ranks().empty(); }, 5)) << "ranks are left";
  EXPECT_EQ(log.find("not complete at MPI_Finalize"), std::string::npos) << log;
  EXPECT_EQ(log.find("error:"), std::string::npos) << log;
  EXPECT_FALSE(std::filesystem::exists(dir + "/summary.json"));
  const std::string saved = saved_in(log);
  if (phase == Phase::kStart) {
    EXPECT_EQ(steps_done(dir), 0);
    return;
  }
  ASSERT_NE(saved, "") << log;
  EXPECT_TRUE(std::filesystem::is_directory(saved)) << log;
  // The state is that after the last step that was logged.
  EXPECT_NE(log.find("after step " + std::to_string(steps_done(dir)) + ","), std::string::npos)
      << log;
}

/// That a stopped run is of use: it goes on to its end.
inline void expect_usable(const Arguments& arguments, const std::string& dir) {
  const Outcome outcome = launch(arguments + Arguments{"--run.resume", "auto"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const std::vector<double> steps = metric(dir + "/metrics.jsonl", "step");
  for (size_t i = 0; i < steps.size(); ++i) ASSERT_EQ(steps[i], static_cast<double>(i));
  EXPECT_TRUE(std::filesystem::exists(dir + "/summary.json"));
}

}  // namespace temper
