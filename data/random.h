// Random numbers that are the same bits on every machine: integers only, no std distribution (their
// results differ between standard libraries) and no call of the maths library. A stream is opened
// by a key of a few words, so that each row of a corpus has a generator of its own and any rank can
// make any row.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <utility>
#include <vector>

namespace temper {

/// One step of splitmix64 (Steele, Lea and Flood 2014) from `state`: a bijection of 64-bit words
/// that mixes all bits.
constexpr uint64_t mix_bits(uint64_t state) {
  uint64_t z = state + 0x9e3779b97f4a7c15ULL;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

/// One word that stands for a list of words; the order counts.
constexpr uint64_t hash_key(std::initializer_list<uint64_t> key) {
  uint64_t hash = key.size();
  for (const uint64_t word : key) hash = mix_bits(hash ^ mix_bits(word));
  return hash;
}

/// xoshiro256++ (Blackman and Vigna, 2019), seeded by splitmix64 from a key.
class RandomStream {
 public:
  explicit constexpr RandomStream(std::initializer_list<uint64_t> key) {
    uint64_t word = hash_key(key);
    for (uint64_t& state : state_) state = word = mix_bits(word);
  }

  /// The next 64 random bits.
  constexpr uint64_t next() {
    const uint64_t result = std::rotl(state_[0] + state_[3], 23) + state_[0];
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  /// Uniform in [0, bound), bound > 0; the bias is below bound / 2^64.
  constexpr uint64_t below(uint64_t bound) {
    __extension__ using Wide = unsigned __int128;
    return static_cast<uint64_t>((static_cast<Wide>(next()) * bound) >> 64);
  }

 private:
  std::array<uint64_t, 4> state_{};
};

/// Shuffles in place (Fisher and Yates).
template <typename T>
void shuffle(std::vector<T>& items, RandomStream& random) {
  for (std::size_t left = items.size(); left > 1; --left)
    std::swap(items[left - 1], items[random.below(left)]);
}

}  // namespace temper
