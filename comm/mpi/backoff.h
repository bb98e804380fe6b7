// Waiting without holding a core: ranks may outnumber cores, and a rank that spins would take the
// time of the one it waits for.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <chrono>

namespace temper {

/// Call pause() between two looks at whatever is awaited. It spins for 20 µs (most messages come by
/// then), gives the core away between looks until 2 ms have passed, and then sleeps 50 µs at a
/// time.
class Backoff {
 public:
  using Clock = std::chrono::steady_clock;

  void pause() const {
    const auto waited = Clock::now() - start_;
    if (waited < std::chrono::microseconds(20)) return;
    if (waited < std::chrono::milliseconds(2)) {
      sched_yield();
    } else {
      usleep(50);
    }
  }

  /// Seconds since construction.
  double seconds() const { return std::chrono::duration<double>(Clock::now() - start_).count(); }

 private:
  Clock::time_point start_ = Clock::now();
};

}  // namespace temper
