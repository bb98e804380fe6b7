// The seam between the soft-target channel and what carries it: one link for each pair of teacher
// and student, by messages (message_link.h), through shared memory (shared_link.h) or over NCCL
// (nccl/link.h). A link moves messages and credits; which unit is whose, how many are in flight,
// and what a header must say is the channel's business.
//
// Credits and messages of one pair keep their order. Nothing here waits.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "comm/channel_wire.h"

namespace temper {

/// A message that has come.
struct Arrival {
  SoftTargetHeader header;
  int64_t bytes = 0;       ///< of header and payload
  int64_t wire_bytes = 0;  ///< that travelled for it
  at::Tensor buffer;       ///< (bytes of a buffer) uint8: the slot that was granted
};

/// The student's end. Its destructor gives up what was granted and did not come.
class StudentLink {
 public:
  virtual ~StudentLink() = default;
  /// Grants `unit`: the teacher may write its message into `slot`, a buffer of the student's ring.
  /// The slot is left alone until take().
  virtual void grant(int64_t unit, const at::Tensor& slot) = 0;
  /// Tells the teacher that no further unit will be granted; only where all granted messages have
  /// been taken.
  virtual void end() = 0;
  /// How many granted messages have come and were not taken. Keeps messages under way moving.
  /// Throws c10::Error where the transport failed.
  virtual int64_t arrived() = 0;
  /// The oldest granted message; only where arrived() is more than 0.
  virtual Arrival take() = 0;
};

/// The teacher's end. Units are acquired and published in order.
class TeacherLink {
 public:
  virtual ~TeacherLink() = default;
  /// True if `unit`, the next that has not been acquired, can be: its credit and a buffer are here.
  /// Throws c10::Error where the student granted another unit or has buffers of another size.
  virtual bool ready(int64_t unit) = 0;
  /// True once ready() has found that the student ended the stream: no credit will come.
  bool ended() const { return ended_; }
  /// The buffer for `unit`'s message (bytes) uint8; only where ready() said so.
  virtual at::Tensor acquire(int64_t unit) = 0;
  /// Whether that buffer lies in memory that the student reads as well.
  virtual bool shares_memory() const { return false; }
  /// Sends the first `bytes` of the oldest acquired buffer, with `header` in front.
  virtual void publish(const SoftTargetHeader& header, int64_t bytes) = 0;
  /// Keeps messages under way moving. True once all have left.
  virtual bool progress() = 0;

 protected:
  bool ended_ = false;
};

}  // namespace temper
