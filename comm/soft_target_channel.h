// The stream between teacher and student ranks: a ring of preallocated buffers per student, filled
// ahead of it by at most `lookahead` micro-batches. The student grants a credit for each free
// buffer; a teacher begins a micro-batch only when it holds a credit for it. What carries messages
// and credits is chosen pair by pair (soft_target_transports.h); the rules here are the same for
// all.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <optional>

#include "comm/soft_target_transports.h"
#include "comm/soft_targets.h"

namespace temper {

/// The header of a micro-batch with `tokens` (B, S): what the teacher writes and the student
/// expects.
SoftTargetHeader make_header(const ChannelConfig& config, const MicroBatchId& id,
                             const at::Tensor& tokens);

/// The student's end. `units` is the number of micro-batches this student will consume: it must ask
/// for all of them, or its teachers wait for ever. `head` (V, C) is the teacher's, for the payload
/// hidden, otherwise undefined. `transports` must outlive the channel and the soft targets that it
/// gave. Throws c10::Error if this is no student rank, or a teacher's message does not fit.
class SoftTargetReceiver : public SoftTargetSource {
 public:
  SoftTargetReceiver(const SoftTargetTransports& transports, int64_t units, at::Tensor head = {});
  ~SoftTargetReceiver() override;
  SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens) override;
  PayloadView payload() const override;
  void progress() override;
  double take_wait_seconds() override;
  int64_t take_bytes() override;
  LookaheadFill take_fill() override;

  /// Asks for no more than the first `units` micro-batches, which are at least those that were
  /// granted: Note [Early end].
  void end_after(int64_t units);
  /// After the last of them: tells the teachers that still wait for a credit. Does nothing where
  /// end_after() was not called. Every student calls it, or none.
  void end();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A teacher's end, towards all students that it serves. It must serve its micro-batches step by
/// step, in an order that is the same for all teachers and in which each student's come in turn, or
/// the job can stand still: Note [No deadlock] in soft_target_sender.cpp. Over NCCL that order goes
/// by micro-batch within a step: Note [Receives ahead] in nccl/link.cpp. `transports` must outlive
/// the channel. Throws c10::Error if this is no teacher rank, if a student's credits do not fit, or
/// if it is used out of order.
class SoftTargetSender {
 public:
  explicit SoftTargetSender(const SoftTargetTransports& transports);
  ~SoftTargetSender();

  /// Waits until acquire() for that student would not wait. False: the student has ended the
  /// stream.
  bool await(int student);
  /// A buffer for the next micro-batch of `student` (index), rows·S tokens, to write the payload
  /// into; waits for the student's credit and for a free buffer. Time spent here and in await() is
  /// the teacher's waiting time. Only where every acquired buffer has been sent: who waits must
  /// hold nothing that another waits for.
  PayloadView acquire(int student, int64_t rows);
  /// The same without waiting, and whatever is held: nullopt if credit or buffer are not here yet.
  /// So a teacher takes several micro-batches for one forward pass.
  std::optional<PayloadView> try_acquire(int student, int64_t rows);
  /// Sends the buffer that was acquired first for that student and not sent, without waiting.
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
