// Readers with a fault each, so that the others' silence means something: run.sh wants every one of
// them found.
#include <c10/util/Exception.h>

#include <cstring>

#include "tests/fuzz/targets.h"

namespace temper {
namespace {

// A word to be found by following the branches.
void check_magic(const std::string& bytes) {
  TORCH_CHECK_VALUE(bytes.size() >= 8, "too short");
  TORCH_CHECK_VALUE(bytes[0] == 'T' && bytes[1] == 'M' && bytes[2] == 'P', "no magic");
}

void reads_past_the_end(const std::string& bytes) {
  check_magic(bytes);
  const std::vector<char> copy(bytes.begin(), bytes.end());
  volatile char last = copy.data()[static_cast<unsigned char>(bytes[3])];
  (void)last;
}

void overflows(const std::string& bytes) {
  check_magic(bytes);
  int32_t size = 0;
  std::memcpy(&size, bytes.data() + 4, sizeof size);
  volatile int32_t doubled = size * 2;
  (void)doubled;
}

void trusts_a_length(const std::string& bytes) {
  check_magic(bytes);
  uint32_t size = 0;
  std::memcpy(&size, bytes.data() + 4, sizeof size);
  const std::vector<char> table(size % (64U << 20));
  volatile char first = table.empty() ? '\0' : table[0];
  (void)first;
}

void throws_another_exception(const std::string& bytes) {
  check_magic(bytes);
  std::stoi(bytes.substr(4));
}

}  // namespace

std::vector<FuzzTarget> planted_targets() {
  std::vector<FuzzTarget> targets;
  const std::pair<const char*, void (*)(const std::string&)> faults[] = {
      {"planted_read", reads_past_the_end},
      {"planted_overflow", overflows},
      {"planted_memory", trusts_a_length},
      {"planted_exception", throws_another_exception}};
  for (const auto& fault : faults) {
    targets.push_back({fault.first, [use = fault.second](const std::string&) -> FuzzReader {
                         return {{std::string("TMP\0"
                                              "1\0\0\0",
                                              8)},
                                 use,
                                 {}};
                       }});
  }
  return targets;
}

}  // namespace temper
