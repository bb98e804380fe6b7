// How many rows of logits are made at a time where the whole (N, V) matrix must not exist.
#pragma once

#include <algorithm>
#include <cstdint>

namespace temper {

/// Rows of a chunk of 4 Mi logits, 16 MiB in float32, and never fewer than 16.
inline int64_t logits_chunk(int64_t vocab) {
  return std::max<int64_t>(16, (int64_t{4} << 20) / vocab);
}

}  // namespace temper
