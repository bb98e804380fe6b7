// A JSON file that ends with a checksum of itself, so that a flipped bit anywhere in it is found,
// also where the text would still be JSON.
//
//   {
//     ...
//     "checksum": "32 hexadecimal digits"
//   }
//
// The checksum is XXH3-128 of the whole text with its own digits taken as zeros.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>

namespace temper {

/// The text of `object` with the checksum as its last field.
std::string sealed_json_text(nlohmann::ordered_json object);

/// The object in the file `path`. Throws c10::ValueError naming the file and the reason: not there,
/// longer than `max_bytes`, truncated, damaged, no JSON object.
nlohmann::json read_sealed_json_file(const std::string& path, int64_t max_bytes);

}  // namespace temper
