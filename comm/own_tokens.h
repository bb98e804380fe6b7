// Token ids on their way from a student to the teacher of a micro-batch: where the student has
// written its input itself, the teacher cannot read it from the corpus.
//
// Note [Own tokens]
// ~~~~~~~~~~~~~~~~~
// A teacher takes its micro-batches in one order, (step, micro-batch, student), and waits for the
// ids of one before it begins the next. A student sends them when it asks for that micro-batch,
// which is after it has got all earlier ones; these stand earlier in every teacher's order, so they
// do not wait for the ids. No cycle, then, as long as a teacher that waits holds no finished
// micro-batch back (teacher/worker.cpp).
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <functional>

#include "comm/mpi/communicator.h"

namespace temper {

/// The student's end, towards all teachers. Sends never wait. `world` must outlive the object.
class OwnTokensOutbox {
 public:
  explicit OwnTokensOutbox(const Communicator& world) : world_(world) {}
  ~OwnTokensOutbox();
  OwnTokensOutbox(const OwnTokensOutbox&) = delete;
  OwnTokensOutbox& operator=(const OwnTokensOutbox&) = delete;
  /// tokens (B, S) int64 on any device.
  void send(const at::Tensor& tokens, int teacher);
  /// Lets ids under way leave.
  void progress();

 private:
  const Communicator& world_;
  std::deque<Request> sends_;
};

/// The teacher's end: the next ids (rows, seq) int64 from world rank `student`; calls `meanwhile`
/// while it waits.
at::Tensor receive_own_tokens(const Communicator& world, int student, int64_t rows, int64_t seq,
                              const std::function<void()>& meanwhile);

}  // namespace temper
