// Sums gradients over the student ranks, while the backward pass still makes them if the caller
// says which are final.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/collectives.h"

namespace temper {

class GradientReducer {
 public:
  /// `flat` (P) holds all gradients of this rank, those of the first layers in front. It is reduced
  /// in buckets of `bucket_bytes`, cut from its end: the backward pass begins there.
  /// `kind`: all-reduce, or reduce-scatter of each bucket (see buckets()).
  GradientReducer(Collectives& collectives, at::Tensor flat, int64_t bucket_bytes = 25 << 20,
                  Collective kind = Collective::kAllReduce);
  /// flat <- sum over ranks, the same bits on each rank. Collective.
  void reduce() { finish(); }

  /// The gradients flat[offset ...] are final on this rank, and nobody touches them before
  /// finish(): buckets that are complete leave. Never waits. Collective only in so far as every
  /// rank calls finish() after it; the offsets may differ.
  void ready_from(int64_t offset);
  /// Moves on what has left; for a CPU, between two pieces of work. Never waits.
  void progress() { collectives_.progress(); }
  /// Sends what has not left and waits for all: flat is what reduce() would have made of it, to the
  /// bit. Collective.
  void finish();

  /// The buckets in the order in which they leave. A shard is one rank's part of one bucket:
  /// shard_of(bucket.count, rank, size), counted from the bucket's begin.
  const std::vector<Shard>& buckets() const { return buckets_; }

 private:
  Collectives& collectives_;
  at::Tensor flat_;
  Collective kind_;
  std::vector<Shard> buckets_;
  size_t next_ = 0;  // bucket to leave
};

}  // namespace temper
