// sentencepiece_model.proto of the library gives the fields' numbers; a table of characters is four
// bytes of size, a double-array trie of that size (Darts-clone), and the texts that it leads to.
#include "data/sentencepiece_model.h"

#include <c10/util/Exception.h>

#include <cstdint>

#include "data/token_file_layout.h"

namespace temper {
namespace {

// Numbers of fields: of the model, and of its normalizer_spec.
constexpr uint64_t kNormalizerSpec = 3, kDenormalizerSpec = 5;
constexpr uint64_t kCharsMap = 2, kAddSpace = 3, kRemoveSpaces = 4;

/// A reader of protobuf's wire format, as far as it is needed to find some fields.
class WireReader {
 public:
  explicit WireReader(std::string_view bytes) : rest_(bytes) {}

  /// The next field; a value that is a number in `number`, bytes in `bytes`. False at the end, and
  /// where this is no protobuf.
  bool next(uint64_t& field, uint64_t& number, std::string_view& bytes) {
    uint64_t key = 0;
    if (rest_.empty() || !varint(key)) return false;
    field = key >> 3;
    number = 0;
    bytes = {};
    switch (key & 7) {
      case 0:
        return varint(number);
      case 1:
        return take(8, bytes);
      case 2:
        return varint(number) && take(number, bytes);
      case 5:
        return take(4, bytes);
      default:
        return false;
    }
  }
  /// All has been read, and was protobuf.
  bool done() const { return rest_.empty() && !failed_; }

 private:
  bool varint(uint64_t& value) {
    value = 0;
    for (int shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(rest_[0]);
      rest_.remove_prefix(1);
      value |= static_cast<uint64_t>(byte & 0x7F) << shift;
      if (byte < 0x80) return true;
    }
    failed_ = true;
    return false;
  }
  bool take(uint64_t size, std::string_view& bytes) {
    if (size > rest_.size()) return false;
    bytes = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return true;
  }

  std::string_view rest_;
  bool failed_ = false;
};

/// A search goes from unit to unit: to `place ^ offset ^ byte` for the next byte, and to
/// `place ^ offset` for the value that ends there. All of them must lie inside the trie, and values
/// inside the texts, of which the last must end.
bool is_sound(std::string_view table) {
  constexpr size_t kSizeBytes = 4, kUnitBytes = 4, kBlock = 256;
  if (table.size() <= kSizeBytes) return false;
  const size_t trie_bytes = load<uint32_t>(table, 0);
  if (trie_bytes >= table.size() - kSizeBytes || trie_bytes == 0) return false;
  if (trie_bytes % (kBlock * kUnitBytes) != 0) return false;
  const std::string_view trie = table.substr(kSizeBytes, trie_bytes);
  const std::string_view texts = table.substr(kSizeBytes + trie_bytes);
  if (texts.back() != '\0') return false;
  const size_t units = trie_bytes / kUnitBytes;
  for (size_t place = 0; place < units; ++place) {
    const auto unit = load<uint32_t>(trie, place * kUnitBytes);
    if (unit >> 31 != 0 && place != 0) continue;  // a value; a search begins at 0, whatever it is
    const size_t offset = size_t{unit >> 10} << ((unit & (1U << 9)) >> 6);
    const size_t next = place ^ offset;
    // The size is in whole blocks, and a byte leads to a unit of the same block.
    if (next >= units) return false;
    const bool has_value = (unit >> 8 & 1) != 0;
    if (has_value && (load<uint32_t>(trie, next * kUnitBytes) & 0x7FFFFFFF) >= texts.size())
      return false;
  }
  return true;
}

}  // namespace

Normalizer read_normalizer(std::string_view model, const std::string& name) {
  const auto check_whole = [&](const WireReader& reader) {
    TORCH_CHECK_VALUE(reader.done(), name,
                      ": this is no SentencePiece model, or it is truncated; fetch it again");
  };
  Normalizer normalizer;
  uint64_t field = 0, number = 0;
  std::string_view bytes;
  WireReader fields(model);
  while (fields.next(field, number, bytes)) {
    if (field != kNormalizerSpec && field != kDenormalizerSpec) continue;
    const bool normalizes = field == kNormalizerSpec;
    WireReader spec(bytes);
    while (spec.next(field, number, bytes)) {
      if (field == kCharsMap) {
        TORCH_CHECK_VALUE(bytes.empty() || is_sound(bytes), name,
                          ": its table of characters (precompiled_charsmap) is damaged; fetch the "
                          "model again");
        if (normalizes) normalizer.changes_characters = !bytes.empty();
      }
      if (field == kAddSpace && normalizes) normalizer.adds_space = number != 0;
      if (field == kRemoveSpaces && normalizes) normalizer.removes_spaces = number != 0;
    }
    check_whole(spec);
  }
  check_whole(fields);
  return normalizer;
}

std::string spaces_of_model(bool adds_space, bool removes_spaces) {
  constexpr uint64_t kBytes = 2;  // how a message is written; numbers: 0
  std::string model;
  for (const uint64_t byte : {kNormalizerSpec << 3 | kBytes, uint64_t{4}, kAddSpace << 3,
                              uint64_t{adds_space}, kRemoveSpaces << 3, uint64_t{removes_spaces}})
    model += static_cast<char>(byte);
  return model;
}

}  // namespace temper
