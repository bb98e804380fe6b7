// LibTorch's allocator of host memory with a record of what it was asked for.
#pragma once

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <algorithm>
#include <atomic>

namespace temper {

/// Records what is allocated while it lives; one at a time.
class CountingAllocator : public c10::Allocator {
 public:
  CountingAllocator() : inner_(c10::GetCPUAllocator()) {
    c10::SetCPUAllocator(this, /*priority=*/1);
  }
  ~CountingAllocator() override { c10::SetCPUAllocator(inner_, /*priority=*/1); }
  c10::DataPtr allocate(size_t bytes) override {
    size_t before = largest_;
    while (before < bytes && !largest_.compare_exchange_weak(before, bytes)) continue;
    return inner_->allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return inner_->raw_deleter(); }
  void copy_data(void* to, const void* from, size_t count) const override {
    default_copy_data(to, from, count);
  }
  /// Bytes of the largest tensor since reset().
  size_t largest() const { return largest_; }
  void reset() { largest_ = 0; }

 private:
  c10::Allocator* inner_;
  std::atomic<size_t> largest_{0};
};

}  // namespace temper
