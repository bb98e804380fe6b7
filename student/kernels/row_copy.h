// A row from memory into a copy in float (double for double), and back.
//
// Compiled once for each instruction set, each time in a namespace of its own, as LibTorch's vector
// classes are: the linker must not take one's code for another's.
#pragma once

#include <cmath>
#include <limits>
#include <type_traits>

#include "student/kernels/row_vectors.h"
#include "student/loss_rows.h"

namespace temper {
inline namespace CPU_CAPABILITY {

inline auto widened(const Vec<c10::BFloat16>& x) { return at::vec::convert_bfloat16_float(x); }
inline auto widened(const Vec<c10::Half>& x) { return at::vec::convert_half_float(x); }
template <typename To>
Vec<To> narrowed(const Vec<float>& first, const Vec<float>& second) {
  if constexpr (std::is_same_v<To, c10::BFloat16>)
    return at::vec::convert_float_bfloat16(first, second);
  else
    return at::vec::convert_float_half(first, second);
}

/// A logit whose id has no probability: its exponential is 0, and differences stay finite. What is
/// not above it counts as -infinity.
template <typename T>
constexpr T kNoLogit = std::numeric_limits<T>::lowest() / 8;

/// Bytes: what a row needs next is asked for while this is at work.
constexpr size_t kAhead = 2048;

/// Copies n elements and fills up with no probability; returns the largest, NaN if there is one.
template <typename T, typename From>
T load_as(const From* from, int64_t n, T* to, int64_t padded) {
  int64_t i = 0;
  Vec<T> most(kNoLogit<T>);
  if constexpr (std::is_same_v<T, float> && sizeof(From) == 2) {
    Vec<T> more(kNoLogit<T>);
    for (; i + Vec<From>::size() <= n; i += Vec<From>::size()) {
      __builtin_prefetch(from + i + kAhead / sizeof(From));
      const auto [first, second] = widened(Vec<From>::loadu(from + i));
      most = at::vec::maximum(most, first);
      more = at::vec::maximum(more, second);
      first.store(to + i);
      second.store(to + i + Vec<T>::size());
    }
    most = at::vec::maximum(most, more);
  } else if constexpr (std::is_same_v<T, From>) {
    for (; i + Vec<T>::size() <= n; i += Vec<T>::size()) {
      const Vec<T> value = Vec<T>::loadu(from + i);
      most = at::vec::maximum(most, value);
      value.store(to + i);
    }
  }
  T lanes[Vec<T>::size()];
  most.store(lanes);
  T result = kNoLogit<T>;
  const auto take = [&](T value) {
    if (value > result || std::isnan(value)) result = value;
  };
  for (const T lane : lanes) take(lane);
  for (; i < n; ++i) take(to[i] = static_cast<T>(from[i]));
  for (; i < padded; ++i) to[i] = kNoLogit<T>;
  return result;
}

/// The same for elements [begin, begin + n) of a buffer.
template <typename T>
T load_part(const void* from, ValueDtype dtype, int64_t begin, int64_t n, T* to, int64_t padded) {
  switch (dtype) {
    case ValueDtype::kFloat:
      return load_as(static_cast<const float*>(from) + begin, n, to, padded);
    case ValueDtype::kDouble:
      return load_as(static_cast<const double*>(from) + begin, n, to, padded);
    case ValueDtype::kBFloat16:
      return load_as(static_cast<const c10::BFloat16*>(from) + begin, n, to, padded);
    case ValueDtype::kHalf:
      return load_as(static_cast<const c10::Half*>(from) + begin, n, to, padded);
  }
  return std::numeric_limits<T>::quiet_NaN();
}

template <typename T, typename To>
void store_as(const T* from, int64_t n, To* to) {
  int64_t i = 0;
  if constexpr (std::is_same_v<T, float> && sizeof(To) == 2) {
    for (; i + Vec<To>::size() <= n; i += Vec<To>::size()) {
      narrowed<To>(Vec<T>::loadu(from + i), Vec<T>::loadu(from + i + Vec<T>::size())).store(to + i);
    }
  }
  for (; i < n; ++i) to[i] = static_cast<To>(from[i]);
}

/// The way back, to elements [begin, begin + n) of a buffer.
template <typename T>
void store_part(const T* from, int64_t n, ValueDtype dtype, int64_t begin, void* to) {
  switch (dtype) {
    case ValueDtype::kFloat:
      return store_as(from, n, static_cast<float*>(to) + begin);
    case ValueDtype::kDouble:
      return store_as(from, n, static_cast<double*>(to) + begin);
    case ValueDtype::kBFloat16:
      return store_as(from, n, static_cast<c10::BFloat16*>(to) + begin);
    case ValueDtype::kHalf:
      return store_as(from, n, static_cast<c10::Half*>(to) + begin);
  }
}

}  // namespace CPU_CAPABILITY
}  // namespace temper
