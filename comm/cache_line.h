// Counters in memory that several processes see.
#pragma once

#include <atomic>
#include <cstdint>

namespace temper {

/// A counter on a line of its own is not slowed by its neighbours' writers.
constexpr int64_t kCacheLine = 64;

static_assert(std::atomic<int64_t>::is_always_lock_free,
              "counters in shared memory must work without a lock of one process");

}  // namespace temper
