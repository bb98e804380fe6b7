// Vectors over a row: exponentials, powers, and sums that stay exact enough.
//
// Compiled once for each instruction set, each time in a namespace of its own, as LibTorch's vector
// classes are: the linker must not take one's code for another's.
#pragma once

#include <ATen/cpu/vec/vec.h>

#include <algorithm>
#include <cstdint>
#include <type_traits>

namespace temper {
inline namespace CPU_CAPABILITY {

template <typename T>
using Vec = at::vec::Vectorized<T>;

// Sums are kept in float over so many elements, then in double.
constexpr int64_t kSumBlock = 1024;

inline Vec<float> exp_of(const Vec<float>& x) { return x.exp_u20(); }
inline Vec<double> exp_of(const Vec<double>& x) { return x.exp(); }

template <typename T>
Vec<T> where_positive(const Vec<T>& condition, const Vec<T>& value) {
  return Vec<T>::blendv(Vec<T>(0), value, condition > Vec<T>(0));
}
template <typename T>
Vec<T> log_of(const Vec<T>& x) {
  return x.log();
}
template <typename T>
Vec<T> at_least(const Vec<T>& x, double least) {
  return at::vec::clamp_min(x, Vec<T>(static_cast<T>(least)));
}
template <typename T>
Vec<T> sign_of(const Vec<T>& x) {
  return where_positive(x, Vec<T>(1)) - where_positive(x.neg(), Vec<T>(1));
}
template <typename T>
Vec<T> magnitude(const Vec<T>& x) {
  return x.abs();
}

/// eᴾ; P = 0: unknown, take the exponential.
template <int P, typename T>
Vec<T> power(const Vec<T>& e) {
  if constexpr (P == 1) return e;
  const Vec<T> square = e * e;
  if constexpr (P == 2) return square;
  if constexpr (P == 3) return square * e;
  if constexpr (P == 4) return square * square;
  const Vec<T> fourth = square * square;
  return fourth * fourth;
}

/// Calls `use` with T as a constant where one exponential serves both temperatures, else with 0.
template <typename Use>
void with_power(double temperature, const Use& use) {
  if (temperature == 1) return use(std::integral_constant<int, 1>());
  if (temperature == 2) return use(std::integral_constant<int, 2>());
  if (temperature == 3) return use(std::integral_constant<int, 3>());
  if (temperature == 4) return use(std::integral_constant<int, 4>());
  if (temperature == 8) return use(std::integral_constant<int, 8>());
  use(std::integral_constant<int, 0>());
}

/// Sums over a row, in float within a block and in double over the blocks.
template <typename T, int Count>
class BlockSums {
 public:
  void add(int which, const Vec<T>& value) { partial_[which] = partial_[which] + value; }
  void end_block() {
    for (int i = 0; i < Count; ++i) {
      T lanes[Vec<T>::size()];
      partial_[i].store(lanes);
      for (const T lane : lanes) totals_[i] += static_cast<double>(lane);
      partial_[i] = Vec<T>(0);
    }
  }
  double operator[](int which) const { return totals_[which]; }

 private:
  Vec<T> partial_[Count] = {};
  double totals_[Count] = {};
};

/// step(i) for each vector of a row's copy, and end_block() of the sums in between.
template <typename T, typename Sums, typename Step>
void walk(int64_t padded, Sums& sums, const Step& step) {
  for (int64_t begin = 0; begin < padded; begin += kSumBlock) {
    const int64_t end = std::min(padded, begin + kSumBlock);
    for (int64_t i = begin; i < end; i += Vec<T>::size()) step(i);
    sums.end_block();
  }
}
template <typename T, typename Step>
void walk(int64_t padded, const Step& step) {
  for (int64_t i = 0; i < padded; i += Vec<T>::size()) step(i);
}

}  // namespace CPU_CAPABILITY
}  // namespace temper
