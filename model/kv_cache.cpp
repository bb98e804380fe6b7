#include "model/kv_cache.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace temper {

KvCache::KvCache(const TransformerConfig& config, std::vector<int64_t> padding, int64_t capacity,
                 at::ScalarType dtype, at::Device device)
    : kv_heads_(config.kv_heads),
      head_width_(config.head_width),
      dtype_(dtype),
      device_(device),
      padding_(std::move(padding)),
      capacity_(std::max<int64_t>(capacity, 1)) {
  TORCH_INTERNAL_ASSERT(!padding_.empty());
  const std::vector<int64_t> shape = {rows(), kv_heads_, capacity_, head_width_};
  const auto options = at::TensorOptions().dtype(dtype_).device(device_);
  for (int64_t layer = 0; layer < config.layers; ++layer) {
    // Zeros: what was never written must be finite where it is multiplied by a weight of zero.
    keys_.push_back(at::zeros(shape, options));    // (B, kv_heads, capacity, D)
    values_.push_back(at::zeros(shape, options));  // (B, kv_heads, capacity, D)
  }
}

bool KvCache::padded() const {
  return std::any_of(padding_.begin(), padding_.end(), [](int64_t count) { return count > 0; });
}

void KvCache::extend(int64_t count) {
  if (length_ + count > capacity_) {
    capacity_ = std::max(2 * capacity_, length_ + count);
    for (std::vector<at::Tensor>* side : {&keys_, &values_}) {
      for (at::Tensor& old : *side) {
        at::Tensor grown = at::zeros({rows(), kv_heads_, capacity_, head_width_},
                                     old.options());  // (B, kv_heads, capacity, D)
        grown.narrow(2, 0, length_).copy_(old.narrow(2, 0, length_));
        old = std::move(grown);
      }
    }
  }
  length_ += count;
}

at::Tensor KvCache::columns(const at::Tensor& all, int64_t begin) const {
  return all.narrow(2, begin, length_ - begin);  // (B, kv_heads, length - begin, D)
}

at::Tensor KvCache::keys(int64_t layer, int64_t begin) const {
  return columns(keys_[static_cast<size_t>(layer)], begin);
}

at::Tensor KvCache::values(int64_t layer, int64_t begin) const {
  return columns(values_[static_cast<size_t>(layer)], begin);
}

void KvCache::select_rows(const at::Tensor& wanted, int64_t begin) {
  TORCH_INTERNAL_ASSERT(wanted.scalar_type() == at::kLong && wanted.dim() == 1);
  const int64_t before = rows();
  std::vector<int64_t> padding;
  const int64_t* from = wanted.const_data_ptr<int64_t>();
  bool same = wanted.numel() == before;
  for (int64_t row = 0; row < wanted.numel(); ++row) {
    padding.push_back(padding_.at(static_cast<size_t>(from[row])));
    same = same && from[row] == row;
  }
  if (same) return;
  padding_ = std::move(padding);
  const at::Tensor index = wanted.to(device_);  // (B')
  for (std::vector<at::Tensor>* side : {&keys_, &values_}) {
    for (at::Tensor& old : *side) {
      if (rows() != before) {
        old = old.index_select(0, index);  // (B', kv_heads, capacity, D)
      } else {
        const at::Tensor part = columns(old, begin);
        part.copy_(part.index_select(0, index));  // (B, kv_heads, length - begin, D)
      }
    }
  }
}

}  // namespace temper
