// Sums of several buffers in one pass over memory, always in the same order: so the bits depend
// neither on who adds nor on how the work is split.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

namespace temper {

/// to[j][i] <- ((from[0][i] + from[1][i]) + from[2][i]) + ... for i < count and every j. Buffers
/// are the same or do not overlap. `type` is float32 or float64; throws c10::Error otherwise.
void ordered_sum(const std::vector<const void*>& from, const std::vector<void*>& to, int64_t count,
                 at::ScalarType type);

/// True for the types that ordered_sum() adds.
inline bool has_ordered_sum(at::ScalarType type) {
  return type == at::kFloat || type == at::kDouble;
}

}  // namespace temper
