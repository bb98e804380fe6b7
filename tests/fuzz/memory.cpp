#include "tests/fuzz/memory.h"

#include <sanitizer/allocator_interface.h>

#include <atomic>

namespace temper {
namespace {

std::atomic<int64_t> held{0}, peak{0}, before{0};

void on_malloc(const volatile void*, size_t bytes) {
  const int64_t now = held += static_cast<int64_t>(bytes);
  int64_t highest = peak;
  while (now > highest && !peak.compare_exchange_weak(highest, now)) {
  }
}

void on_free(const volatile void* block) {
  if (block != nullptr) held -= static_cast<int64_t>(__sanitizer_get_allocated_size(block));
}

}  // namespace

void count_memory() { __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free); }

int64_t peak_memory() { return peak - before; }

void reset_peak_memory() {
  before = held.load();
  peak = held.load();
}

}  // namespace temper
