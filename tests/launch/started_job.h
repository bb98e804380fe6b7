// A command that a test starts, watches and sends signals to, and the ranks of temper below it.
#pragma once

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/launch/launcher.h"

namespace temper {

/// Looks every 2 ms; false if `condition` did not come true within `seconds`.
inline bool wait_until(const std::function<bool()>& condition, double seconds = 30) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  return true;
}

class StartedJob {
 public:
  /// Starts `command` in a process group of its own, both its outputs to the file `log`. `mark` is
  /// a folder of the test's own: ranks of the job, which its end must not leave behind, are known
  /// by a word of their command line that is this folder or lies in it.
  StartedJob(std::vector<std::string> command, const std::string& log, std::string mark)
      : mark_(std::move(mark)) {
    std::fflush(nullptr);
    pid_ = fork();
    if (pid_ != 0) return;
    setpgid(0, 0);
    for (const int signal : {SIGUSR1, SIGTERM, SIGINT, SIGHUP}) ::signal(signal, SIG_DFL);
    std::vector<char*> argv;
    for (std::string& word : command) argv.push_back(word.data());
    argv.push_back(nullptr);
    if (freopen(log.c_str(), "w", stdout) == nullptr || dup2(1, 2) < 0) _exit(126);
    if (freopen("/dev/null", "r", stdin) == nullptr) _exit(126);
    execvp(argv[0], argv.data());
    _exit(127);
  }
  ~StartedJob() {
    if (pid_ > 0) {
      kill(-pid_, SIGKILL);
      waitpid(pid_, nullptr, 0);
    }
    for (const pid_t rank : ranks()) kill(rank, SIGKILL);
  }
  StartedJob(const StartedJob&) = delete;
  StartedJob& operator=(const StartedJob&) = delete;

  pid_t pid() const { return pid_; }
  void send(int signal) const {
    if (pid_ > 0) kill(pid_, signal);
  }
  /// As a terminal's Ctrl-C: to the whole process group.
  void interrupt() const {
    if (pid_ > 0) kill(-pid_, SIGINT);
  }

  bool running() {
    int status = 0;
    if (pid_ > 0 && waitpid(pid_, &status, WNOHANG) == pid_) {
      pid_ = -1;
      code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return pid_ > 0;
  }
  /// The exit code, 128 + N after signal N; -1 if it still runs after `seconds`.
  int wait(double seconds = 40) {
    return wait_until([this] { return !running(); }, seconds) ? code_ : -1;
  }

  /// Processes of temper that belong to this job, in the order of their ranks.
  std::vector<pid_t> ranks() const {
    std::vector<std::pair<int, pid_t>> found;
    std::error_code ignored;
    for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
      const std::string name = entry.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      const std::string command = words(entry.path() / "cmdline");
      const std::string program = command.substr(0, command.find('\n'));
      const auto has = [&](const std::string& text) {
        return command.find(text) != std::string::npos;
      };
      if (!program.ends_with("/temper")) continue;
      if (!has("\n" + mark_ + "\n") && !has("\n" + mark_ + "/")) continue;
      const std::string environment = words(entry.path() / "environ");
      const std::string key = "\nOMPI_COMM_WORLD_RANK=";
      const size_t at = environment.find(key);
      const int rank = at == std::string::npos ? 0 : std::stoi(environment.substr(at + key.size()));
      found.emplace_back(rank, static_cast<pid_t>(std::stoi(name)));
    }
    std::sort(found.begin(), found.end());
    std::vector<pid_t> pids;
    for (const auto& [rank, pid] : found) pids.push_back(pid);
    return pids;
  }

  /// Whether a process has a handler for this signal.
  static bool catches(pid_t pid, int signal) {
    std::ifstream status("/proc/" + std::to_string(pid) + "/status");
    for (std::string line; std::getline(status, line);) {
      if (!line.starts_with("SigCgt:")) continue;
      return (std::stoull(line.substr(7), nullptr, 16) >> (signal - 1) & 1) != 0;
    }
    return false;
  }

 private:
  // The file's words, each on a line; none where the process ends at that moment.
  static std::string words(const std::filesystem::path& path) {
    std::string text = read_text(path.string());
    std::replace(text.begin(), text.end(), '\0', '\n');
    return text;
  }

  pid_t pid_ = -1;
  int code_ = -1;
  std::string mark_;
};

}  // namespace temper
