// What crosses from teacher to student: the fixed layout of a soft-target message, and the seam
// that both a local teacher (colocated) and the channel (teacher ranks) implement.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <string>

#include "comm/payload.h"

namespace temper {

/// Names one micro-batch of the job; the same on both sides.
struct MicroBatchId {
  int64_t step = 0;
  int64_t first_row = 0;  ///< within the global batch
  int64_t rows = 0;
  bool own_tokens = false;  ///< the student wrote the input itself: its ids travel to the teacher
};

/// In front of every message, 64 bytes. The student refuses a message whose header is not the one
/// it computes itself.
struct SoftTargetHeader {
  uint32_t magic = 0x54454d50;
  Payload payload = Payload::kFull;
  int64_t step = 0;
  int64_t first_row = 0;
  uint32_t rows = 0;
  uint32_t seq = 0;
  int64_t vocab = 0;
  double temperature = 1.0;  ///< T of the soft targets, so that both sides mean the same
  uint64_t token_hash = 0;   ///< of the micro-batch's input ids
  uint64_t tokenizer = 0;    ///< fingerprint of the tokenizer that made them, 0 where unknown
};
static_assert(sizeof(SoftTargetHeader) == 64);

/// FNV-1a over the ids of a (B, S) int64 tensor.
uint64_t hash_tokens(const at::Tensor& tokens);

/// Throws c10::Error naming step, rows, the field that differs, and both sides' values.
void check_header(const SoftTargetHeader& expected, const SoftTargetHeader& received,
                  int teacher_rank);

/// How far ahead teachers were when students asked: sums over calls of targets(), which may be
/// added over ranks. arrived / granted is the share of the lookahead that was there.
struct LookaheadFill {
  double granted = 0;  ///< micro-batches that teachers might have made already
  double arrived = 0;  ///< of these, here
};

/// Gives a student the soft targets of its next micro-batch.
class SoftTargetSource {
 public:
  virtual ~SoftTargetSource() = default;
  /// Soft targets of the B·S tokens `tokens` (B, S) int64, valid until the next call. Called once
  /// per micro-batch, in order. Whoever gets full ones may write over their values, and payload()
  /// with them.
  virtual SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens) = 0;
  /// The very bytes behind what the last targets() gave, on the CPU, valid as long: to be recorded.
  virtual PayloadView payload() const = 0;
  /// Lets messages under way arrive, without waiting. Call now and then while computing: without it
  /// a message over a network moves only while the student waits.
  virtual void progress() {}
  /// Seconds spent waiting for teachers since the last call of this function.
  virtual double take_wait_seconds() = 0;
  /// Bytes received since the last call of this function (0 when colocated).
  virtual int64_t take_bytes() = 0;
  /// They were recorded, and no teacher runs: whoever waits waits for a store.
  virtual bool replays() const { return false; }
  /// Lookahead fill since the last call of this function (granted 0: colocated, or lookahead 0).
  virtual LookaheadFill take_fill() { return {}; }
};

}  // namespace temper
