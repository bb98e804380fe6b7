#include "teacher/payload_rows.h"

#include <c10/util/Exception.h>

#include <cstring>

namespace temper {
namespace {

/// n elements of kWidth bytes <-> kWidth planes of n bytes.
template <size_t kWidth>
void to_planes(const unsigned char* elements, size_t n, unsigned char* planes) {
  for (size_t plane = 0; plane < kWidth; ++plane) {
    for (size_t i = 0; i < n; ++i) planes[plane * n + i] = elements[i * kWidth + plane];
  }
}

template <size_t kWidth>
void from_planes(const unsigned char* planes, size_t n, unsigned char* elements) {
  for (size_t i = 0; i < n; ++i) {
    for (size_t plane = 0; plane < kWidth; ++plane)
      elements[i * kWidth + plane] = planes[plane * n + i];
  }
}

/// Calls use(bytes of the row's part, number of elements, bytes of one) for each part of the view.
template <typename Use>
void each_part(const PayloadView& view, const PayloadSpec& spec, int64_t row, int64_t seq,
               const Use& use) {
  int64_t total = 0;
  for (const at::Tensor* part : {&view.scalars, &view.values, &view.ids}) {
    if (!part->defined()) continue;
    const at::Tensor own = part->narrow(0, row * seq, seq);  // (S, …)
    TORCH_INTERNAL_ASSERT(own.is_contiguous() && own.device().is_cpu());
    total += static_cast<int64_t>(own.nbytes());
    use(static_cast<unsigned char*>(own.data_ptr()), static_cast<size_t>(own.numel()),
        own.element_size());
  }
  // A part that is not listed here would be lost.
  TORCH_INTERNAL_ASSERT(total == seq * spec.bytes_per_token());
}

}  // namespace

void take_row(const PayloadView& view, const PayloadSpec& spec, int64_t row, int64_t seq,
              unsigned char* out) {
  each_part(view, spec, row, seq, [&](const unsigned char* bytes, size_t n, size_t width) {
    if (width == 2) {
      to_planes<2>(bytes, n, out);
    } else if (width == 4) {
      to_planes<4>(bytes, n, out);
    } else {
      TORCH_INTERNAL_ASSERT(width == 1);
      std::memcpy(out, bytes, n);
    }
    out += n * width;
  });
}

void put_row(const unsigned char* in, const PayloadView& view, const PayloadSpec& spec, int64_t row,
             int64_t seq) {
  each_part(view, spec, row, seq, [&](unsigned char* bytes, size_t n, size_t width) {
    if (width == 2) {
      from_planes<2>(in, n, bytes);
    } else if (width == 4) {
      from_planes<4>(in, n, bytes);
    } else {
      TORCH_INTERNAL_ASSERT(width == 1);
      std::memcpy(bytes, in, n);
    }
    in += n * width;
  });
}

}  // namespace temper
