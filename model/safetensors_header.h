// The JSON header of a safetensors file, read without trusting it and written.
#pragma once

#include <c10/core/ScalarType.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

/// One tensor as the header gives it; begin and end in bytes from the end of the header.
struct SafetensorsItem {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  uint64_t begin = 0, end = 0;
};

/// Parses a header and checks each entry: known dtype, at most 8 dimensions, sizes whose product
/// does not overflow, dtype × shape = bytes, no name twice; and that together the tensors fill
/// `data_bytes` without overlap or gap. Throws c10::ValueError naming `file`, the tensor and the
/// reason. Sorted by offset.
std::vector<SafetensorsItem> parse_safetensors_header(std::string_view header, uint64_t data_bytes,
                                                      const std::string& file);

/// The header of these items (their begin and end are set here, in the order given), padded with
/// spaces so that eight bytes of length and the header together are a multiple of 8, with metadata
/// {"format": "pt"}.
std::string make_safetensors_header(std::vector<SafetensorsItem>& items);

}  // namespace temper
