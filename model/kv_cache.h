// The keys and values of all tokens so far, so that each new token costs one position and not the
// whole text. Rows of a batch may have begun at different lengths: shorter prompts are padded on
// the left, as transformers does, so that every row writes to the same column.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "model/transformer_config.h"

namespace temper {

class KvCache {
 public:
  /// Room for padding.size() rows of `capacity` columns, which doubles when it runs out. padding[b]
  /// leading columns of row b hold no token and are never attended to.
  KvCache(const TransformerConfig& config, std::vector<int64_t> padding, int64_t capacity,
          at::ScalarType dtype, at::Device device);

  int64_t rows() const { return static_cast<int64_t>(padding_.size()); }
  /// Columns in use, padding included.
  int64_t length() const { return length_; }
  const std::vector<int64_t>& padding() const { return padding_; }
  bool padded() const;
  at::ScalarType dtype() const { return dtype_; }

  /// Makes room for `count` more columns; they count in length() from now on. Every layer then
  /// writes them.
  void extend(int64_t count);
  /// Columns [begin, length()) of a layer; views to read or write. (B, kv_heads, length - begin, D)
  at::Tensor keys(int64_t layer, int64_t begin = 0) const;
  at::Tensor values(int64_t layer, int64_t begin = 0) const;

  /// Row b becomes what row rows[b] was; rows may repeat, drop out, and change in number. Where the
  /// number stays, columns before `begin` are not touched: the caller knows that they are equal.
  /// rows (B') int64, on the CPU.
  void select_rows(const at::Tensor& rows, int64_t begin = 0);

 private:
  at::Tensor columns(const at::Tensor& all, int64_t begin) const;

  const int64_t kv_heads_, head_width_;
  at::ScalarType dtype_;
  at::Device device_;
  std::vector<int64_t> padding_;  // of each row
  int64_t length_ = 0;
  int64_t capacity_;
  std::vector<at::Tensor> keys_, values_;  // L x (B, kv_heads, capacity, D)
};

}  // namespace temper
