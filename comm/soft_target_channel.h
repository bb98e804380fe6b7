// The stream between teacher and student ranks over MPI: a ring of preallocated buffers per pair,
// filled ahead of the student by at most `lookahead` micro-batches. The student grants a credit for
// each free buffer; a teacher begins a micro-batch only when it holds a credit for it. Messages and
// credits are non-blocking.
#pragma once

#include <ATen/core/Tensor.h>

#include <deque>
#include <memory>
#include <vector>

#include "comm/mpi/communicator.h"
#include "comm/placement.h"
#include "comm/soft_targets.h"

namespace temper {

/// What both ends must know alike to lay out the buffers.
struct ChannelConfig {
  int64_t max_rows = 0;  ///< rows of the largest micro-batch
  int64_t seq = 0;
  PayloadSpec payload;
  double temperature = 1.0;
  uint64_t tokenizer = 0;  ///< fingerprint of the data's tokenizer, 0 where unknown
  int64_t lookahead = 2;   ///< micro-batches per student in flight; 0: a teacher begins when its
                           ///< student asks (lock-step)
};

/// The header of a micro-batch with `tokens` (B, S): what the teacher writes and the student
/// expects.
SoftTargetHeader make_header(const ChannelConfig& config, const MicroBatchId& id,
                             const at::Tensor& tokens);

/// The student's end. `world` and `placement` name the peers; `units` is the number of
/// micro-batches this student will consume: it must ask for all of them, or its teachers wait for
/// ever. `head` (V, C) is the teacher's, for the payload hidden, otherwise undefined. `world` must
/// outlive the channel.
class SoftTargetReceiver : public SoftTargetSource {
 public:
  SoftTargetReceiver(const Communicator& world, const Placement& placement, ChannelConfig config,
                     int64_t units, at::Tensor head = {});
  ~SoftTargetReceiver() override;
  SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens) override;
  void progress() override;
  double take_wait_seconds() override;
  int64_t take_bytes() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A teacher's end, towards all students that it serves. It must serve its micro-batches in the
/// order (step, student, micro-batch), or the job can stand still: Note [No deadlock] in
/// soft_target_sender.cpp. `world` must outlive the channel.
class SoftTargetSender {
 public:
  SoftTargetSender(const Communicator& world, const Placement& placement, ChannelConfig config);
  ~SoftTargetSender();

  /// A buffer for the next micro-batch of `student` (index), rows·S tokens, to write the payload
  /// into; waits for the student's credit and for a free buffer. Time spent here is the teacher's
  /// waiting time.
  PayloadView acquire(int student, int64_t rows);
  /// Sends the buffer of the last acquire() for that student, without waiting.
  void send(int student, const SoftTargetHeader& header);
  /// Lets messages under way progress, without waiting. Call now and then while computing.
  void progress();
  /// Waits until every message has left.
  void finish();
  double take_wait_seconds();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace temper
