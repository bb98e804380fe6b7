#include "comm/ordered_sum.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace temper {
namespace {

template <typename T>
struct Sum {
  const T* const* from;
  size_t terms;
  T* const* to;
  size_t copies;
  int64_t count;
};

/// The common case, two ranks that add into both buffers: nothing lies in between.
template <typename T>
[[gnu::always_inline]] inline void add_pair(T* a, T* b, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    const T sum = a[i] + b[i];
    a[i] = sum;
    b[i] = sum;
  }
}

/// Block by block, with the sum in the nearest cache: each buffer is read once and written once.
template <typename T>
[[gnu::always_inline]] inline void add_blocks(const Sum<T>& job) {
  constexpr int64_t kBlock = 1024;
  alignas(64) T sum[kBlock];
  for (int64_t begin = 0; begin < job.count; begin += kBlock) {
    const int64_t length = std::min(kBlock, job.count - begin);
    const T* first = job.from[0] + begin;
    for (int64_t i = 0; i < length; ++i) sum[i] = first[i];
    for (size_t term = 1; term < job.terms; ++term) {
      const T* next = job.from[term] + begin;
      for (int64_t i = 0; i < length; ++i) sum[i] += next[i];
    }
    for (size_t copy = 0; copy < job.copies; ++copy) {
      T* out = job.to[copy] + begin;
      for (int64_t i = 0; i < length; ++i) out[i] = sum[i];
    }
  }
}

template <typename T>
[[gnu::always_inline]] inline void add(const Sum<T>& job) {
  if (job.terms == 2 && job.copies == 2 && job.from[0] == job.to[0] && job.from[1] == job.to[1]) {
    add_pair(job.to[0], job.to[1], job.count);
  } else {
    add_blocks(job);
  }
}

// The program is built for every x86-64; the wide vectors are chosen when it runs. They add the
// same numbers in the same order.
#ifdef __x86_64__
template <typename T>
[[gnu::target("avx2")]] void add_wide(const Sum<T>& job) {
  add(job);
}

bool has_wide() { return __builtin_cpu_supports("avx2") != 0; }
#else
template <typename T>
void add_wide(const Sum<T>& job) {
  add(job);
}

bool has_wide() { return false; }
#endif

template <typename T>
void add_typed(const std::vector<const void*>& from, const std::vector<void*>& to, int64_t count) {
  std::vector<const T*> terms;
  std::vector<T*> copies;
  for (const void* buffer : from) terms.push_back(static_cast<const T*>(buffer));
  for (void* buffer : to) copies.push_back(static_cast<T*>(buffer));
  const Sum<T> job{terms.data(), terms.size(), copies.data(), copies.size(), count};
  if (has_wide()) {
    add_wide(job);
  } else {
    add(job);
  }
}

}  // namespace

void ordered_sum(const std::vector<const void*>& from, const std::vector<void*>& to, int64_t count,
                 at::ScalarType type) {
  TORCH_CHECK(has_ordered_sum(type), "sums of gradients are taken of float32 or float64, not ",
              type);
  TORCH_INTERNAL_ASSERT(!from.empty());
  if (type == at::kFloat) {
    add_typed<float>(from, to, count);
  } else {
    add_typed<double>(from, to, count);
  }
}

}  // namespace temper
