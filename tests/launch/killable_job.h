// A job under mpirun that a test kills.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <fstream>
#include <string>
#include <vector>

namespace temper {

/// `mpirun -n RANKS temper ARGUMENTS…` that the test may kill.
class KillableJob {
 public:
  KillableJob(const std::vector<std::string>& arguments, const std::string& log, int ranks = 2) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    std::vector<std::string> all = {TEMPER_MPIEXEC, "--oversubscribe",     "--bind-to",   "none",
                                    "-n",           std::to_string(ranks), TEMPER_PROGRAM};
    all.insert(all.end(), arguments.begin(), arguments.end());
    std::vector<char*> argv;
    for (std::string& word : all) argv.push_back(word.data());
    argv.push_back(nullptr);
    if (freopen(log.c_str(), "w", stdout) == nullptr || dup2(1, 2) < 0) _exit(126);
    execv(argv[0], argv.data());
    _exit(127);
  }
  ~KillableJob() {
    if (pid_ > 0) kill_all();
  }
  KillableJob(const KillableJob&) = delete;

  std::vector<pid_t> ranks() const {
    std::ifstream list("/proc/" + std::to_string(pid_) + "/task/" + std::to_string(pid_) +
                       "/children");
    std::vector<pid_t> pids;
    for (pid_t pid = 0; list >> pid;) pids.push_back(pid);
    return pids;
  }
  bool running() {
    if (pid_ > 0 && waitpid(pid_, &status_, WNOHANG) == pid_) pid_ = -1;
    return pid_ > 0;
  }
  /// mpirun's exit code, once the job is over.
  int code() const { return WIFEXITED(status_) ? WEXITSTATUS(status_) : 128 + WTERMSIG(status_); }
  /// As when the machine goes down. Nothing if the job is over: to kill, -1 is every process.
  void kill_all() {
    if (pid_ <= 0) return;
    const std::vector<pid_t> children = ranks();
    kill(pid_, SIGKILL);
    for (const pid_t rank : children) kill(rank, SIGKILL);
    wait();
  }
  /// mpirun ends the others.
  void kill_one() {
    if (pid_ <= 0) return;
    const std::vector<pid_t> children = ranks();
    if (!children.empty()) kill(children.back(), SIGKILL);
    wait();
  }

 private:
  void wait() {
    if (pid_ > 0) waitpid(pid_, &status_, 0);
    pid_ = -1;
  }
  pid_t pid_ = -1;
  int status_ = 0;
};

}  // namespace temper
