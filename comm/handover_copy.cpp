#include "comm/handover_copy.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <cstring>

namespace temper {
namespace {

constexpr int64_t kBlockBytes = int64_t{128} << 10;  // converted at once, within a core's cache

void move_string(std::byte* to, const std::byte* from, int64_t bytes) {
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)  // which would not see the writes
  asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
#else
  std::memcpy(to, from, static_cast<size_t>(bytes));
#endif
}

}  // namespace

void handover_copy(const at::Tensor& from, const at::Tensor& to) {
  TORCH_INTERNAL_ASSERT(from.is_cpu() && to.is_cpu() && to.is_contiguous() && to.dim() == 2 &&
                        from.sizes() == to.sizes());
  if (to.numel() == 0) return;
  const int64_t row_bytes = to.size(1) * to.element_size();
  const int64_t block = std::max<int64_t>(1, kBlockBytes / row_bytes);  // rows
  const bool as_is = from.scalar_type() == to.scalar_type() && from.is_contiguous();
  const auto* source = static_cast<const std::byte*>(from.const_data_ptr());
  auto* target = static_cast<std::byte*>(to.data_ptr());
  at::parallel_for(0, to.size(0), block, [&](int64_t begin, int64_t end) {
    if (as_is) {
      move_string(target + begin * row_bytes, source + begin * row_bytes,
                  (end - begin) * row_bytes);
      return;
    }
    for (; begin < end; begin += block) {
      const int64_t n = std::min(block, end - begin);
      const at::Tensor part = from.narrow(0, begin, n).to(to.scalar_type()).contiguous();  // (n, W)
      move_string(target + begin * row_bytes, static_cast<const std::byte*>(part.const_data_ptr()),
                  n * row_bytes);
    }
  });
}

}  // namespace temper
