// The alphabet in which byte-level BPE files spell their tokens: each of the 256 bytes is one
// printable character, so that a token is a string whatever its bytes are. Printable Latin-1
// characters stand for themselves; the other 68 bytes, in order, are U+0100 and on (a space is
// U+0120). The rule is that of GPT-2's encoder.py (Radford et al. 2019).
#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>

namespace temper {

class ByteAlphabet {
 public:
  ByteAlphabet();

  /// The bytes that `spelling` stands for, or nothing where it holds a character outside the
  /// alphabet (or is no UTF-8).
  std::optional<std::string> bytes(std::string_view spelling) const;

  /// The one character of a byte, in UTF-8.
  std::string_view spelling(unsigned char byte) const;

 private:
  static constexpr size_t kCharacters = 256 + 68;
  std::array<std::string, 256> spelling_;
  std::array<int16_t, kCharacters> byte_;  // of each code point; -1: outside
};

}  // namespace temper
