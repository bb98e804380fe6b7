// What a person sees while a stage runs: one line an interval on rank 0. On a terminal the line is
// rewritten in place with a bar; elsewhere plain lines follow each other.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace temper {

/// Between two lines of a stage where there is no terminal.
inline constexpr double kLineSeconds = 5;

class Progress {
 public:
  /// `first`: steps that were done before this job.
  Progress(std::string title, int64_t steps, int64_t first = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  /// `done` steps are finished; `text` says how it goes. On a terminal every call redraws;
  /// elsewhere only calls with `line` print.
  void show(int64_t done, const std::string& text, bool line);

 private:
  std::string title_;
  int64_t steps_;
  int64_t first_;
  bool terminal_;
  bool drawn_ = false;
  std::chrono::steady_clock::time_point start_;
};

/// Prints a line on standard error. Called on one rank.
void say(const std::string& line);

/// "2m05s", "41s", "1h02m".
std::string duration_text(double seconds);
/// "12.3k", "4.56M".
std::string count_text(double count);
/// "12.3 KiB", "4.5 MiB", "1.25 GiB".
std::string bytes_text(double bytes);
/// printf into a string.
[[gnu::format(printf, 1, 2)]] std::string format(const char* pattern, ...);

}  // namespace temper
