// The frozen teacher's forward pass: token ids in, soft targets out, laid out as they travel.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>

#include "comm/schedule.h"
#include "comm/soft_targets.h"
#include "model/transformer.h"

namespace temper {

class TeacherInference {
 public:
  /// `model` must outlive the object. `compute` is the dtype of matrix products; `temperature` is
  /// that of each step's soft targets, `seed` that of the draws (payload sample).
  TeacherInference(const Transformer& model, at::ScalarType compute, const PayloadSpec& payload,
                   RunSchedule temperature, uint64_t seed);

  const PayloadSpec& payload() const { return payload_; }
  bool on_cpu() const { return head_.is_cpu(); }
  /// The output head (V, C) in the compute dtype, on the model's device: what a student needs with
  /// the payload hidden.
  const at::Tensor& head() const { return head_; }

  /// Soft targets of `tokens` (B, S) int64, rows first_row and on of step `step`, written to `out`,
  /// a message of B·S tokens.
  void soft_targets(const MicroBatchId& id, const at::Tensor& tokens, const PayloadView& out) const;

  // The same in two parts: one forward pass may serve several micro-batches. `between`, where
  // given, is called between layers and chunks of logits, so that earlier messages can progress.

  /// Final hidden states (N, C) of `tokens` (B, S) int64, in the compute dtype.
  at::Tensor hidden(const at::Tensor& tokens, const std::function<void()>& between = {}) const;
  /// Soft targets of one micro-batch from its hidden states (N, C), written to `out`.
  void encode(const MicroBatchId& id, const at::Tensor& hidden, const PayloadView& out,
              const std::function<void()>& between = {}) const;

 private:
  const Transformer& model_;
  at::ScalarType compute_;
  PayloadSpec payload_;
  RunSchedule temperature_;
  uint64_t seed_;
  at::Tensor head_;  // (V, C) in the compute dtype
};

/// Soft targets of a teacher in the student's own process (colocated): encoded and rounded as they
/// would be on the wire, so that layouts agree.
class LocalSoftTargets : public SoftTargetSource {
 public:
  explicit LocalSoftTargets(TeacherInference inference);
  SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens) override;
  PayloadView payload() const override;
  double take_wait_seconds() override { return 0; }
  int64_t take_bytes() override { return 0; }

 private:
  TeacherInference inference_;
  at::Tensor head_;  // (V, C) for the payload hidden
  /// (bytes), kept from call to call; on the model's device, but for ids, which are packed on CPUs.
  at::Tensor buffer_;
  int64_t tokens_ = 0;  // of the last call
};

}  // namespace temper
