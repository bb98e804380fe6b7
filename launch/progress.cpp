#include "launch/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdarg>
#include <cstdio>

namespace temper {

Progress::Progress(std::string title, int64_t steps, int64_t first)
    : title_(std::move(title)),
      steps_(steps),
      first_(first),
      terminal_(isatty(STDERR_FILENO) != 0),
      start_(std::chrono::steady_clock::now()) {}

Progress::~Progress() {
  if (drawn_) std::fputc('\n', stderr);
}

void Progress::show(int64_t done, const std::string& text, bool line) {
  if (!terminal_ && !line) return;
  const double elapsed =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  const double left = elapsed / static_cast<double>(std::max<int64_t>(1, done - first_)) *
                      static_cast<double>(steps_ - done);
  const int width = static_cast<int>(std::to_string(steps_).size());
  std::string head = format("%s %*lld/%lld", title_.c_str(), width, static_cast<long long>(done),
                            static_cast<long long>(steps_));
  if (!terminal_) {
    std::fprintf(stderr, "%s  %s  %s left\n", head.c_str(), text.c_str(),
                 duration_text(left).c_str());
    return;
  }
  constexpr int kBar = 20;
  const int filled = static_cast<int>(kBar * done / steps_);
  const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                          std::string(static_cast<size_t>(kBar - filled), '.');
  std::fprintf(stderr, "\r\033[K%s [%s] %s left  %s", head.c_str(), bar.c_str(),
               duration_text(left).c_str(), text.c_str());
  std::fflush(stderr);
  drawn_ = true;
}

void say(const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); }

std::string duration_text(double seconds) {
  const long long s = std::llround(std::min(std::max(0.0, seconds), 1e15));
  if (s < 60) return format("%llds", s);
  if (s < 3600) return format("%lldm%02llds", s / 60, s % 60);
  return format("%lldh%02lldm", s / 3600, s / 60 % 60);
}

std::string count_text(double count) {
  if (count < 1e3) return format("%.0f", count);
  if (count < 1e6) return format("%.1fk", count / 1e3);
  if (count < 1e9) return format("%.2fM", count / 1e6);
  return format("%.2fG", count / 1e9);
}

std::string format(const char* pattern, ...) {
  va_list arguments;
  va_start(arguments, pattern);
  va_list again;
  va_copy(again, arguments);
  const int length = std::vsnprintf(nullptr, 0, pattern, arguments);
  va_end(arguments);
  std::string text(static_cast<size_t>(length), '\0');
  std::vsnprintf(text.data(), text.size() + 1, pattern, again);
  va_end(again);
  return text;
}

std::string bytes_text(double bytes) {
  if (bytes < 1024 * 1024) return format("%.1f KiB", bytes / 1024);
  if (bytes < 1024.0 * 1024 * 1024) return format("%.1f MiB", bytes / (1024 * 1024));
  return format("%.2f GiB", bytes / (1024.0 * 1024 * 1024));
}

}  // namespace temper
