// Numbers whose sum shows in its last bits the order in which they were added.
#pragma once

#include <ATen/ATen.h>

#include <cstring>
#include <vector>

namespace temper {

/// What `rank` adds, (n); `round` makes it another.
inline at::Tensor summand(int rank, int64_t n, at::ScalarType type, int64_t round = 0) {
  const at::Tensor place = at::arange(n, at::kDouble) + 0.37 * static_cast<double>(round);  // (n)
  return ((place * (rank + 1) * 0.7).sin() * at::exp2(place % 13)).to(type);                // (n)
}

/// One term after another, (n).
inline at::Tensor sequential_sum(const std::vector<at::Tensor>& terms) {
  at::Tensor sum = terms[0].clone();  // (n)
  for (size_t i = 1; i < terms.size(); ++i) sum += terms[i];
  return sum;
}

inline bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.scalar_type() == b.scalar_type() && a.nbytes() == b.nbytes() &&
         (a.nbytes() == 0 || std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0);
}

}  // namespace temper
