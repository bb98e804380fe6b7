// A student's ring of buffers in memory that its teachers see too: where everything lies. It takes
// a pointer, so that it may be a segment of an MPI window or, for a test under the thread
// sanitizer, plain memory of one process.
//
//   RingHead | a PairState and its entries for each teacher | padding | slots, each on pages of its
//   own
//
// Offsets depend on the numbers in RingHead alone, which the student writes: a teacher with other
// options finds the credit that tells it so.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>

#include "comm/cache_line.h"
#include "comm/channel_wire.h"

namespace temper {

constexpr int64_t kRingAlignment = 4096;

struct RingShape {
  int64_t slot_bytes = 0;  ///< of a buffer
  int64_t slots = 0;
  int64_t teachers = 0;
};

/// The counters of one pair, each on a cache line of its own. They only grow.
struct PairState {
  alignas(kCacheLine) std::atomic<int64_t> granted;    ///< credits; the student's
  alignas(kCacheLine) std::atomic<int64_t> published;  ///< messages; the teacher's
};

/// Written before the counter that makes it known, and not again until its turn in the ring comes.
struct PairEntry {
  Credit credit;              ///< the student's
  int64_t message_bytes = 0;  ///< the teacher's
};

class SharedRing {
 public:
  /// Bytes of memory that a ring of this shape takes.
  static int64_t bytes(const RingShape& shape);
  /// Lays out an empty ring; `memory` is aligned to kRingAlignment. By the student, before any
  /// teacher opens it: whoever calls it makes sure of that.
  static SharedRing create(void* memory, const RingShape& shape);
  /// The ring that another has created there.
  static SharedRing open(void* memory);

  const RingShape& shape() const { return shape_; }
  std::byte* slot(int64_t index) const;
  /// The same as a tensor (slot_bytes) uint8, which does not own the memory.
  at::Tensor slot_tensor(int64_t index) const;
  PairState& pair(int64_t teacher) const;
  /// The entry of a pair's `count`-th credit and message.
  PairEntry& entry(int64_t teacher, int64_t count) const;

 private:
  SharedRing(void* memory, const RingShape& shape)
      : memory_(static_cast<std::byte*>(memory)), shape_(shape) {}

  std::byte* memory_;
  RingShape shape_;
};

}  // namespace temper
