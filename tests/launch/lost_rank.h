// A job of two students and a teacher that loses a rank, and what is left of it.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/launch/killable_job.h"
#include "tests/launch/launcher.h"

namespace temper {
using Arguments = std::vector<std::string>;
using Clock = std::chrono::steady_clock;

constexpr double kTimeout = 3;  // --run.timeout of those that are to be stopped

/// Two students and a teacher, for more steps than any test waits for.
inline Arguments distill(const std::string& dir, const Arguments& more = {}) {
  Arguments all = {"distill", "--run.dir",
                   dir,       "--launch.teachers",
                   "1",       "--teacher.layers",
                   "1",       "--teacher.width",
                   "32",      "--teacher.heads",
                   "2",       "--student.layers",
                   "1",       "--student.width",
                   "32",      "--student.heads",
                   "2",       "--train.steps",
                   "100000",  "--train.batch",
                   "6",       "--train.micro-batch",
                   "1",       "--train.seq",
                   "16",      "--train.checkpoint-every",
                   "20",      "--evaluate.max-tokens",
                   "128",     "--run.threads",
                   "1",       "--run.timeout",
                   "60"};
  for (size_t i = 0; i < more.size(); i += 2) {
    const auto at = std::find(all.begin(), all.end(), more[i]);
    if (at != all.end()) all.erase(at, at + 2);
  }
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

inline size_t count(const std::string& text, const std::string& part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

inline double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

/// Processes that were started with this argument, zombies aside.
inline std::vector<pid_t> processes_with(const std::string& argument) {
  std::vector<pid_t> pids;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    const std::string name = entry.path().filename().string();
    if (!std::all_of(name.begin(), name.end(), [](unsigned char c) { return std::isdigit(c); }))
      continue;
    const std::string words = read_text(entry.path().string() + "/cmdline");
    if (words.find(std::string(1, '\0') + argument + '\0') != std::string::npos &&
        std::stoi(name) != getpid())
      pids.push_back(std::stoi(name));
  }
  return pids;
}

inline int64_t steps_done(const std::string& dir) {
  std::ifstream file(dir + "/metrics.jsonl");
  int64_t lines = 0;
  for (std::string line; std::getline(file, line);) ++lines;
  return lines;
}

/// The process of a rank, by what mpirun told it.
inline pid_t process_of(const KillableJob& job, int rank) {
  const std::string wanted = "OMPI_COMM_WORLD_RANK=" + std::to_string(rank);
  for (const pid_t pid : job.ranks()) {
    const std::string environment = read_text("/proc/" + std::to_string(pid) + "/environ");
    if (environment.find(wanted + '\0') != std::string::npos) return pid;
  }
  return -1;
}

struct End {
  double seconds = 0;  ///< from the signal to the end of the job
  int code = 0;
  std::string log;
  size_t left = 0;  ///< processes
};

/// The signal meets a rank of the job once it has done some steps.
inline End signal_rank(int rank, int signal, int64_t steps, double patience) {
  const ScratchDir scratch;
  const std::string dir = scratch / "run";
  KillableJob job(distill(dir, {"--run.timeout", signal == SIGSTOP ? "3" : "60"}), scratch / "log",
                  3);
  const Clock::time_point started = Clock::now();
  while (job.running() && steps_done(dir) < steps && seconds_since(started) < 40)
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  EXPECT_GE(steps_done(dir), steps) << read_text(scratch / "log");
  const pid_t pid = process_of(job, rank);
  EXPECT_GT(pid, 0);
  const Clock::time_point sent = Clock::now();
  if (pid > 0) kill(pid, signal);
  while (job.running() && seconds_since(sent) < patience)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  End end;
  EXPECT_FALSE(job.running()) << "rank " << rank << ": the job goes on";
  end.seconds = seconds_since(sent);
  end.code = job.code();
  end.log = read_text(scratch / "log");
  const std::vector<pid_t> left = processes_with(dir);
  end.left = left.size();
  for (const pid_t each : left) kill(each, SIGKILL);
  return end;
}

}  // namespace temper
