// Turns valid files into damaged ones: bits, bytes, blocks, lengths and numbers, by a seed.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace temper {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}

  /// One of `files`, changed in one to eight places; at most four times as long as the longest.
  std::string mutated(const std::vector<std::string>& files);

 private:
  size_t below(size_t limit) { return static_cast<size_t>(random_() % limit); }
  void change(std::string& bytes, const std::vector<std::string>& files);
  void change_number(std::string& bytes);

  std::mt19937_64 random_;
};

}  // namespace temper
