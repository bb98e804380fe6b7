// Memory of a kernel. Not std::vector: the linker could hand its code, compiled for AVX-512, to
// files that run on any processor.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>

namespace temper {
namespace {

/// `count` zeros, aligned to a cache line.
template <typename T>
class Array {
 public:
  explicit Array(int64_t count)
      : bytes_((static_cast<size_t>(count) * sizeof(T) + 63) / 64 * 64),
        data_(static_cast<T*>(std::aligned_alloc(64, bytes_))) {
    clear();
  }
  ~Array() { std::free(data_); }
  Array(Array&& other) noexcept : bytes_(other.bytes_), data_(other.data_) {
    other.data_ = nullptr;
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() { return data_; }
  const T* data() const { return data_; }
  T& operator[](int64_t i) { return data_[i]; }
  void clear() { std::memset(static_cast<void*>(data_), 0, bytes_); }

 private:
  size_t bytes_;
  T* data_;
};

}  // namespace
}  // namespace temper
