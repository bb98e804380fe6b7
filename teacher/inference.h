// The frozen teacher's forward pass: token ids in, logits out, in the dtype in which they travel.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/soft_targets.h"
#include "model/transformer.h"

namespace temper {

class TeacherInference {
 public:
  /// `model` must outlive the object. `compute` is the dtype of matrix products; logits are rounded
  /// to `payload_dtype`.
  TeacherInference(const Transformer& model, at::ScalarType compute, at::ScalarType payload_dtype);

  int64_t vocab() const { return head_.size(0); }
  at::ScalarType payload_dtype() const { return payload_dtype_; }

  /// tokens (B, S) int64 -> logits, written to `out` (B·S, V) of the payload's dtype on the CPU.
  void logits(const at::Tensor& tokens, at::Tensor& out) const;

 private:
  const Transformer& model_;
  at::ScalarType compute_;
  at::ScalarType payload_dtype_;
  at::Tensor head_;  // (V, C) in the compute dtype
};

/// Soft targets of a teacher in the student's own process (colocated): rounded as they would be on
/// the wire, so that layouts agree.
class LocalSoftTargets : public SoftTargetSource {
 public:
  explicit LocalSoftTargets(TeacherInference inference) : inference_(std::move(inference)) {}
  at::Tensor logits(const MicroBatchId& id, const at::Tensor& tokens) override;
  double take_wait_seconds() override { return 0; }
  int64_t take_bytes() override { return 0; }

 private:
  TeacherInference inference_;
  at::Tensor buffer_;  // (rows·S, V), kept from call to call
};

}  // namespace temper
