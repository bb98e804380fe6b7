// A 64-bit hash that tells two corpora apart (FNV-1a over words). Not for security: it guards
// against mistakes, such as two nodes that see different files under one name.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>

#include "data/random.h"

namespace temper {

class Fingerprint {
 public:
  /// Mixes in one number.
  Fingerprint& add(uint64_t word) {
    value_ = mix_bits((value_ ^ word) * 0x00000100000001b3ULL);
    return *this;
  }

  /// Mixes in bytes and their number.
  Fingerprint& add(std::string_view bytes) {
    size_t at = 0;
    for (uint64_t word = 0; at + sizeof word <= bytes.size(); at += sizeof word) {
      std::memcpy(&word, bytes.data() + at, sizeof word);
      add(word);
    }
    uint64_t rest = 0;
    if (at < bytes.size()) std::memcpy(&rest, bytes.data() + at, bytes.size() - at);
    return add(rest).add(static_cast<uint64_t>(bytes.size()));
  }

  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0xcbf29ce484222325ULL;
};

}  // namespace temper
