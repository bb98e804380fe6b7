#include "tests/fuzz/mutator.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>

namespace temper {
namespace {

// Where arithmetic on sizes and offsets goes wrong.
constexpr std::array<uint64_t, 12> kLimits = {0,
                                              1,
                                              0x7f,
                                              0xff,
                                              0xffff,
                                              0x7fffffff,
                                              0x80000000,
                                              0xffffffff,
                                              0x1fffffff,
                                              0x7fffffffffffffff,
                                              0x8000000000000000,
                                              0xffffffffffffffff};

constexpr std::array<const char*, 14> kNumbers = {"0",
                                                  "-1",
                                                  "1e999",
                                                  "-0.0",
                                                  "2147483648",
                                                  "4294967296",
                                                  "9223372036854775807",
                                                  "9223372036854775808",
                                                  "18446744073709551616",
                                                  "1e-320",
                                                  "3",
                                                  "null",
                                                  "true",
                                                  "[]"};

constexpr std::array<const char*, 10> kWords = {"\"", "{", "}",       "[",       "]",
                                                ",",  ":", "\\u0000", "\\ud800", "\xff\xfe"};

}  // namespace

std::string Mutator::mutated(const std::vector<std::string>& files) {
  size_t longest = 0;
  for (const std::string& file : files) longest = std::max(longest, file.size());
  std::string bytes = files[below(files.size())];
  for (size_t changes = 1 + below(8); changes > 0; --changes) change(bytes, files);
  if (bytes.size() > 4 * longest) bytes.resize(4 * longest);
  return bytes;
}

// A number that stands in the text, as JSON writes it, becomes another.
void Mutator::change_number(std::string& bytes) {
  const size_t start = below(bytes.size());
  const auto digit = [](char c) { return c >= '0' && c <= '9'; };
  const auto found =
      std::find_if(bytes.begin() + static_cast<ptrdiff_t>(start), bytes.end(), digit);
  const auto end = std::find_if_not(found, bytes.end(), digit);
  if (found != end) bytes.replace(found, end, kNumbers[below(kNumbers.size())]);
}

void Mutator::change(std::string& bytes, const std::vector<std::string>& files) {
  if (bytes.empty()) bytes = "x";
  const size_t at = below(bytes.size());
  const size_t length = 1 + below(std::min<size_t>(bytes.size() - at, size_t{1} << below(12)));
  switch (below(11)) {
    case 0:
      bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
      break;
    case 1:
      bytes[at] = static_cast<char>(random_());
      break;
    case 2:
      bytes.erase(at, length);
      break;
    case 3:
      bytes.insert(at, bytes.substr(at, length));
      break;
    case 4:
      bytes.resize(at);
      break;
    case 5: {  // a block of another file
      const std::string& other = files[below(files.size())];
      const size_t from = below(other.size() + 1);
      bytes.replace(at, length, other.substr(from, length));
      break;
    }
    case 6:
      bytes.insert(at, kWords[below(kWords.size())]);
      break;
    case 7:
    case 8:
      change_number(bytes);
      break;
    default: {  // a binary integer, most often near the beginning, where lengths stand
      const uint64_t value = kLimits[below(kLimits.size())] + below(3) - 1;
      const size_t width = size_t{1} << below(4);
      const size_t place = below(2) == 0 ? below(std::min<size_t>(bytes.size(), 64)) : at;
      std::memcpy(bytes.data() + place, &value, std::min(width, bytes.size() - place));
    }
  }
}

}  // namespace temper
