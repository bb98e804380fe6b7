#include "data/byte_alphabet.h"

namespace temper {

ByteAlphabet::ByteAlphabet() {
  byte_.fill(-1);
  int next = 256;
  for (int byte = 0; byte < 256; ++byte) {
    const bool printable = (byte >= '!' && byte <= '~') || (byte >= 0xA1 && byte != 0xAD);
    const int point = printable ? byte : next++;
    byte_[static_cast<size_t>(point)] = static_cast<int16_t>(byte);
    std::string& text = spelling_[static_cast<size_t>(byte)];
    if (point < 0x80) {
      text.assign(1, static_cast<char>(point));
    } else {  // below U+0800: two bytes of UTF-8
      text = {static_cast<char>(0xC0 | point >> 6), static_cast<char>(0x80 | (point & 0x3F))};
    }
  }
}

std::optional<std::string> ByteAlphabet::bytes(std::string_view spelling) const {
  std::string result;
  for (size_t i = 0; i < spelling.size(); ++i) {
    size_t point = static_cast<unsigned char>(spelling[i]);
    if (point >= 0x80) {
      if ((point & 0xE0) != 0xC0 || i + 1 == spelling.size()) return std::nullopt;
      point = (point & 0x1F) << 6 | (static_cast<unsigned char>(spelling[++i]) & 0x3F);
    }
    if (point >= kCharacters || byte_[point] < 0) return std::nullopt;
    result += static_cast<char>(byte_[point]);
  }
  return result;
}

std::string_view ByteAlphabet::spelling(unsigned char byte) const { return spelling_[byte]; }

}  // namespace temper
