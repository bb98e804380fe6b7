// Gradients over the ranks, bucket by bucket: a bucket that fits the caches and the network's
// buffers goes faster than the whole, and later the buckets can leave while the backward pass still
// fills the next ones.
#include "comm/gradient_reducer.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace temper {

GradientReducer::GradientReducer(Collectives& collectives, at::Tensor flat, int64_t bucket_bytes)
    : collectives_(collectives), flat_(std::move(flat)), bucket_bytes_(bucket_bytes) {
  TORCH_CHECK(flat_.defined() && flat_.dim() == 1 && flat_.is_contiguous(),
              "GradientReducer needs one contiguous 1-D tensor of gradients");
  TORCH_CHECK(bucket_bytes_ > 0, "gradient buckets of ", bucket_bytes_,
              " bytes: must be more than 0");
}

// The buckets' bounds depend on nothing but P and bucket_bytes, and the backend adds in an order
// that depends on the group alone: so two runs of one layout have the same bits.
void GradientReducer::reduce() {
  if (collectives_.size() == 1) return;
  const int64_t step = std::max<int64_t>(1, bucket_bytes_ / flat_.element_size());
  for (int64_t begin = 0; begin < flat_.numel(); begin += step) {
    collectives_.all_reduce(
        flat_.narrow(0, begin, std::min(step, flat_.numel() - begin)));  // (<= step)
  }
}

}  // namespace temper
