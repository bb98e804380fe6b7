// Gradients over the ranks, bucket by bucket: a bucket leaves when the backward pass is through
// with it, while the pass still fills the next ones. The flat buffer is laid out in the order of
// the forward pass, so buckets from its end to its front are in the order of the backward pass.
#include "comm/gradient_reducer.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace temper {

GradientReducer::GradientReducer(Collectives& collectives, at::Tensor flat, int64_t bucket_bytes,
                                 Collective kind)
    : collectives_(collectives), flat_(std::move(flat)), kind_(kind) {
  TORCH_CHECK(flat_.defined() && flat_.dim() == 1 && flat_.is_contiguous(),
              "GradientReducer needs one contiguous 1-D tensor of gradients");
  TORCH_CHECK(bucket_bytes > 0, "gradient buckets of ", bucket_bytes,
              " bytes: must be more than 0");
  // Bounds depend on nothing but P, bucket_bytes and the number of ranks. Whole shards of whole
  // cache lines, where a bucket is large enough for them.
  const int64_t unit = kShardUnit * collectives_.size();
  int64_t step = std::max<int64_t>(1, bucket_bytes / flat_.element_size());
  if (step > unit) step -= step % unit;
  const int64_t last = (flat_.numel() - 1) / step * step;
  for (int64_t begin = last; begin >= 0 && flat_.numel() > 0; begin -= step)
    buckets_.push_back({begin, std::min(step, flat_.numel() - begin)});
}

// Every rank starts the buckets in this order, however its offsets come: the backend takes them in
// the order of their start.
void GradientReducer::ready_from(int64_t offset) {
  for (; next_ < buckets_.size() && buckets_[next_].begin >= offset; ++next_) {
    const Shard& bucket = buckets_[next_];
    collectives_.start(kind_, flat_.narrow(0, bucket.begin, bucket.count));  // (<= step)
  }
  collectives_.progress();
}

void GradientReducer::finish() {
  ready_from(0);
  collectives_.finish();
  next_ = 0;
}

}  // namespace temper
