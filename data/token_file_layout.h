// The numbers that token files of the known formats begin with, for those who read and who write
// them. llm.c: dev/data/data_common.py of karpathy/llm.c. Megatron:
// megatron/core/datasets/indexed_dataset.py. NumPy: numpy.lib.format.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace temper {

/// A little-endian number at an offset, aligned or not. It must lie inside.
template <typename T>
T load(std::string_view bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

inline constexpr std::string_view kNpyMagic = "\x93NUMPY";

/// 256 int32, of which the first three are magic, version and the number of tokens; then the ids.
struct LlmcKind {
  int32_t magic, version;
  int id_bytes;
};
inline constexpr LlmcKind kLlmcShort{20240520, 1, 2};  // GPT-2
inline constexpr LlmcKind kLlmcLong{20240801, 7, 4};   // Llama 3
inline constexpr size_t kLlmcHeader = 1024;

/// Nine bytes; then version (uint64), dtype (uint8), numbers of sequences and of entries in the
/// document list (uint64), lengths (int32), pointers (int64), document list (int64).
inline constexpr std::string_view kMegatronMagic{"MMIDIDX\0\0", 9};
inline constexpr uint64_t kMegatronVersion = 1;
inline constexpr size_t kMegatronHeader = 34;
inline constexpr int kMegatronI4 = 4;
inline constexpr int kMegatronU2 = 8;

}  // namespace temper
