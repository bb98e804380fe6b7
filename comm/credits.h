// Credits as MPI messages: how the transports that have no shared memory say that a buffer is free.
#pragma once

#include <deque>

#include "comm/channel_wire.h"
#include "comm/mpi/communicator.h"

namespace temper {

/// The student's end of one pair. Sends never wait. `world` must outlive the object.
class CreditOutbox {
 public:
  CreditOutbox(const Communicator& world, int teacher) : world_(world), teacher_(teacher) {}
  void grant(const Credit& credit);
  /// Lets credits under way leave.
  void progress();
  /// Gives up what has not left.
  void abandon() noexcept;

 private:
  const Communicator& world_;
  int teacher_;
  std::deque<Request> sends_;
};

/// The teacher's end of one pair. `world` must outlive the object.
class CreditInbox {
 public:
  CreditInbox(const Communicator& world, int student) : world_(world), student_(student) {}
  /// Gives up the credit that it looked for last, if it has not come.
  ~CreditInbox() { receive_.abandon(); }
  CreditInbox(const CreditInbox&) = delete;
  CreditInbox& operator=(const CreditInbox&) = delete;
  /// True once the credit for `unit`, the next one, is here. Never waits. Throws c10::Error where
  /// the student granted another unit, or a buffer that has not `buffer_bytes`.
  bool has(int64_t unit, int64_t buffer_bytes);
  /// True once has() has met the end of the credits.
  bool ended() const { return ended_; }

 private:
  const Communicator& world_;
  int student_;
  Request receive_;       // of the next credit, once has() was asked for it
  at::Tensor words_;      // (2), of that credit
  int64_t granted_ = -1;  // the unit of the last credit
  bool ended_ = false;
};

}  // namespace temper
