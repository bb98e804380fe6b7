#include "data/megatron_index.h"

#include <c10/util/Exception.h>

#include <cstring>

#include "data/mapped_file.h"
#include "data/token_file_layout.h"

namespace temper {

namespace {

/// Bytes of an id by the index's code; negative: signed; 0: no token ids.
int width_of(int code) {
  switch (code) {
    case 1:
      return 1;
    case 2:
      return -1;
    case 3:
      return -2;
    case kMegatronI4:
      return -4;
    case 5:
      return -8;
    case kMegatronU2:
      return 2;
    default:
      return 0;
  }
}

}  // namespace

MegatronIndex read_megatron_index(const std::string& path, size_t bin_bytes,
                                  const std::string& option) {
  const MappedFile file(path, option);
  const std::string_view bytes = file.bytes();
  const std::string name = "--" + option + " " + path;
  TORCH_CHECK_VALUE(bytes.size() >= kMegatronHeader && bytes.starts_with(kMegatronMagic), name,
                    ": this is no Megatron index, or it is truncated in its header");
  const auto version = load<uint64_t>(bytes, 9);
  TORCH_CHECK_VALUE(version == kMegatronVersion, name, ": version ", version,
                    " of Megatron's index; temper reads version 1");
  const int code = load<uint8_t>(bytes, 17);
  const int width = width_of(code);
  TORCH_CHECK_VALUE(width != 0, name, ": dtype code ", code,
                    "; token ids are integers (codes 1 to 5 and 8)");
  const auto sequences = load<uint64_t>(bytes, 18), entries = load<uint64_t>(bytes, 26);
  // The first two comparisons keep the sum from running over.
  const bool fits = sequences <= bytes.size() && entries <= bytes.size() &&
                    kMegatronHeader + 12 * sequences + 8 * entries == bytes.size();
  TORCH_CHECK_VALUE(fits, name, ": truncated, or of another kind (multimodal): its header says ",
                    sequences, " sequences and ", entries, " document entries, the file holds ",
                    bytes.size(), " bytes");
  MegatronIndex index{width < 0 ? -width : width, width < 0, 0, 0};
  const size_t lengths = kMegatronHeader, pointers = lengths + 4 * sequences;
  const size_t documents = pointers + 8 * sequences;
  for (size_t i = 0; i < sequences; ++i) {
    const auto length = load<int32_t>(bytes, lengths + 4 * i);
    const auto pointer = load<int64_t>(bytes, pointers + 8 * i);
    TORCH_CHECK_VALUE(length >= 0, name, ": sequence ", i, " has the length ", length);
    TORCH_CHECK_VALUE(pointer == index.tokens * index.id_bytes, name, ": sequence ", i,
                      " begins at byte ", pointer, ", not at ", index.tokens * index.id_bytes,
                      " where the one before it ends; temper reads files without gaps, as "
                      "Megatron's tools write them");
    index.tokens += length;  // below bin_bytes + 2^31, by the next line
    TORCH_CHECK_VALUE(static_cast<uint64_t>(index.tokens) <= bin_bytes, name,
                      ": speaks of more tokens than its .bin holds (", bin_bytes,
                      " bytes); the .bin is truncated or another file's");
  }
  TORCH_CHECK_VALUE(
      static_cast<uint64_t>(index.tokens) * static_cast<uint64_t>(index.id_bytes) == bin_bytes,
      name, ": speaks of ", index.tokens, " tokens of ", index.id_bytes, " bytes, its .bin has ",
      bin_bytes, " bytes; the .bin is truncated or another file's");
  int64_t before = 0;
  for (size_t i = 0; i < entries; ++i) {
    const auto entry = load<int64_t>(bytes, documents + 8 * i);
    const bool good = entry >= before && static_cast<uint64_t>(entry) <= sequences &&
                      (i > 0 || entry == 0) &&
                      (i + 1 < entries || static_cast<uint64_t>(entry) == sequences);
    TORCH_CHECK_VALUE(good, name, ": entry ", i, " of its document list is ", entry, ", of ",
                      sequences, " sequences");
    before = entry;
  }
  index.documents = entries > 0 ? static_cast<int64_t>(entries) - 1 : 0;
  return index;
}

}  // namespace temper
