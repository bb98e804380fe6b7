#include "model/weight_gradient.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "model/block_product.h"
#include "model/kernels/weight_gradient_kernel.h"

namespace temper {

namespace {

// `buffer` with room for so many numbers like those of `like`.
void make_room(at::Tensor& buffer, int64_t numel, const at::Tensor& like) {
  if (buffer.defined() && buffer.numel() >= numel && buffer.scalar_type() == like.scalar_type() &&
      buffer.device() == like.device()) {
    return;
  }
  buffer = at::Tensor();  // free the old one first
  buffer = at::empty({numel}, like.options());
}

#if defined(TEMPER_KERNELS_AVX512_BF16)

bool by_blocks(const at::Tensor& output, const at::Tensor& input, const at::Tensor& gradient) {
  return input.is_cpu() && input.scalar_type() == at::kBFloat16 &&
         gradient.scalar_type() == at::kFloat && gradient.is_contiguous() &&
         input.size(1) % 16 == 0 && input.stride(1) == 1 && output.stride(1) == 1 &&
         input.size(0) > 0 && has_block_products();
}

void add_by_blocks(const at::Tensor& output, const at::Tensor& input, const at::Tensor& gradient,
                   at::Tensor& buffer) {
  PackedInput packed{.tokens = input.size(0), .width = input.size(1)};
  make_room(buffer, packed.numel(), input);
  packed.data = static_cast<c10::BFloat16*>(buffer.data_ptr());
  const auto* rows = static_cast<const c10::BFloat16*>(input.const_data_ptr());
  at::parallel_for(0, packed.pairs(), 32, [&](int64_t begin, int64_t end) {
    pack_input_avx512(rows, input.stride(0), packed, begin, end);
  });
  const auto* by_output = static_cast<const c10::BFloat16*>(output.const_data_ptr());
  auto* sums = static_cast<float*>(gradient.data_ptr());
  at::parallel_for(0, (output.size(1) + 31) / 32, 2, [&](int64_t begin, int64_t end) {
    add_weight_gradient_avx512(by_output, output.stride(0), packed, sums, 32 * begin,
                               std::min(32 * end, output.size(1)));
    release_block_products();
  });
}

#endif

}  // namespace

void add_weight_gradient(const at::Tensor& output, const at::Tensor& input,
                         const at::Tensor& gradient, at::Tensor& buffer) {
  constexpr int64_t kPartBytes = int64_t{8} << 20;
  if (input.scalar_type() == gradient.scalar_type()) {
    at::Tensor sum = gradient;
    sum.addmm_(output.t(), input);
    return;
  }
  if (input.is_cuda()) {  // cuBLAS adds up in float, where the gradient lies
    at::Tensor sum = gradient;
    at::addmm_out(sum, gradient, output.t(), input, gradient.scalar_type());
    return;
  }
#if defined(TEMPER_KERNELS_AVX512_BF16)
  if (by_blocks(output, input, gradient)) return add_by_blocks(output, input, gradient, buffer);
#endif
  const int64_t rows = gradient.size(0), width = gradient.size(1);
  const int64_t fits = kPartBytes / (width * input.element_size()) / 64 * 64;
  const int64_t part = std::min(rows, std::max<int64_t>(64, fits));
  make_room(buffer, part * width, input);
  for (int64_t begin = 0; begin < rows; begin += part) {
    const int64_t count = std::min(part, rows - begin);
    at::Tensor product = buffer.narrow(0, 0, count * width).view({count, width});  // (count, in)
    at::mm_out(product, output.narrow(1, begin, count).t(), input);
    gradient.narrow(0, begin, count).add_(product);
  }
}

}  // namespace temper
