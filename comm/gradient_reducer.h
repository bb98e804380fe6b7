// Sums gradients over the student ranks.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/collectives.h"

namespace temper {

class GradientReducer {
 public:
  /// `flat` (P) holds all gradients of this rank. `bucket_bytes` is the piece that is reduced at a
  /// time.
  GradientReducer(Collectives& collectives, at::Tensor flat, int64_t bucket_bytes = 25 << 20);
  /// flat <- sum over ranks, the same bits on each rank. Collective.
  void reduce();

 private:
  Collectives& collectives_;
  at::Tensor flat_;
  int64_t bucket_bytes_;
};

}  // namespace temper
