#include "data/sealed_json.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string_view>

#include "data/checksum.h"
#include "data/json_input.h"

namespace temper {

namespace {

constexpr const char* kField = "checksum";
constexpr std::string_view kBegin = "\"checksum\": \"";
constexpr std::string_view kEnd = "\"\n}\n";
constexpr size_t kDigits = 32;

std::string checksum_of(std::string_view before, std::string_view after) {
  return Checksum().add(before).add(std::string(kDigits, '0')).add(after).hex();
}

void check_seal(std::string_view text, const std::string& path) {
  const size_t at = text.size() - std::min(text.size(), kDigits + kEnd.size());
  TORCH_CHECK_VALUE(text.substr(0, at).ends_with(kBegin) && text.ends_with(kEnd), path,
                    ": truncated or damaged: it does not end with its checksum");
  const std::string found = checksum_of(text.substr(0, at), kEnd);
  TORCH_CHECK_VALUE(text.substr(at, kDigits) == found, path, ": damaged: its checksum is ", found,
                    ", and it says ", text.substr(at, kDigits));
}

}  // namespace

std::string sealed_json_text(nlohmann::ordered_json object) {
  object[kField] = std::string(kDigits, '0');
  std::string text = object.dump(2) + "\n";
  const size_t at = text.size() - kDigits - kEnd.size();
  return text.replace(at, kDigits, checksum_of(std::string_view(text).substr(0, at), kEnd));
}

nlohmann::json read_sealed_json_file(const std::string& path, int64_t max_bytes) {
  const std::string text = read_limited_file(path, max_bytes);
  check_seal(text, path);
  return parse_json_object(text, path);
}

}  // namespace temper
