#include "model/weight_gradient.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace temper {

void add_weight_gradient(const at::Tensor& output, const at::Tensor& input,
                         const at::Tensor& gradient, at::Tensor& buffer) {
  constexpr int64_t kPartBytes = int64_t{8} << 20;
  if (input.scalar_type() == gradient.scalar_type()) {
    at::Tensor sum = gradient;
    sum.addmm_(output.t(), input);
    return;
  }
  const int64_t rows = gradient.size(0), width = gradient.size(1);
  const int64_t fits = kPartBytes / (width * input.element_size()) / 64 * 64;
  const int64_t part = std::min(rows, std::max<int64_t>(64, fits));
  if (!buffer.defined() || buffer.numel() < part * width ||
      buffer.scalar_type() != input.scalar_type() || buffer.device() != input.device()) {
    buffer = at::Tensor();  // free the old one first
    buffer = at::empty({part * width}, input.options());
  }
  for (int64_t begin = 0; begin < rows; begin += part) {
    const int64_t count = std::min(part, rows - begin);
    at::Tensor product = buffer.narrow(0, 0, count * width).view({count, width});  // (count, in)
    at::mm_out(product, output.narrow(1, begin, count).t(), input);
    gradient.narrow(0, begin, count).add_(product);
  }
}

}  // namespace temper
