// Distrustful reading of small JSON files.
#include "data/json_input.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

namespace temper {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 32;

std::string shortened(const json& value) {
  // Bytes that are not UTF-8 are replaced instead of thrown at.
  std::string text = value.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

}  // namespace

size_t find_nul(std::string_view text) { return text.find('\0'); }

nlohmann::json parse_json(std::string_view text, const std::string& where) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  const auto watch = [&](int depth, json::parse_event_t event, json& parsed) {
    TORCH_CHECK_VALUE(depth < kMaxDepth, where, ": nested deeper than ", kMaxDepth, " levels");
    if (event == json::parse_event_t::object_start) {
      keys.emplace_back();
    } else if (event == json::parse_event_t::object_end) {
      keys.pop_back();
    } else if (event == json::parse_event_t::key) {
      const bool is_new = keys.back().insert(parsed.get_ref<const std::string&>()).second;
      TORCH_CHECK_VALUE(is_new, where, ": the key ", shortened(parsed), " stands twice");
    }
    return true;
  };
  size_t bad = find_nul(text);
  if (bad == std::string_view::npos) {
    try {
      return json::parse(text, watch);
    } catch (const json::exception& error) {
      const auto* syntax = dynamic_cast<const json::parse_error*>(&error);
      bad = syntax != nullptr ? syntax->byte - 1 : 0;
    }
  }
  TORCH_CHECK_VALUE(false, where, ": not valid JSON (at byte ", bad + 1, " of ", text.size(), ")");
}

std::string read_limited_file(const std::string& path, int64_t max_bytes) {
  std::error_code failure;
  const bool regular = std::filesystem::is_regular_file(path, failure);
  TORCH_CHECK_VALUE(regular, path, ": ", failure ? failure.message() : "not a regular file",
                    "; name a file");
  std::ifstream stream(path, std::ios::binary);
  TORCH_CHECK_VALUE(stream, path, ": cannot be opened: ", std::strerror(errno));
  std::string text;
  const uintmax_t bytes = std::filesystem::file_size(path, failure);
  const auto most = static_cast<uintmax_t>(max_bytes);
  text.resize(static_cast<size_t>(failure ? most : std::min(bytes, most)) + 1);
  stream.read(text.data(), static_cast<std::streamsize>(text.size()));
  TORCH_CHECK_VALUE(!stream.bad(), path, ": cannot be read: ", std::strerror(errno));
  text.resize(static_cast<size_t>(stream.gcount()));
  TORCH_CHECK_VALUE(static_cast<int64_t>(text.size()) <= max_bytes, path, ": larger than ",
                    max_bytes, " bytes; this is not the file that it is named as");
  return text;
}

nlohmann::json parse_json_object(std::string_view text, const std::string& where) {
  json value = parse_json(text, where);
  TORCH_CHECK_VALUE(value.is_object(), where, ": holds ", shortened(value), ", not a JSON object");
  return value;
}

nlohmann::json read_json_file(const std::string& path, int64_t max_bytes) {
  return parse_json_object(read_limited_file(path, max_bytes), path);
}

JsonFields::JsonFields(const json& object, const std::string& file)
    : object_(object), file_(file) {}

bool JsonFields::has(const char* name) const {
  const auto found = object_.find(name);
  return found != object_.end() && !found->is_null();
}

bool JsonFields::is_null(const char* name) const {
  const auto found = object_.find(name);
  return found != object_.end() && found->is_null();
}

const json& JsonFields::at(const char* name) const {
  TORCH_CHECK_VALUE(has(name), file_, ": the field ", name, " is missing");
  return *object_.find(name);
}

void JsonFields::refuse(const char* name, const std::string& remedy) const {
  TORCH_CHECK_VALUE(false, file_, ": ", name, " is ", shortened(at(name)), "; ", remedy);
}

namespace {

// Above 2^63 - 1 the parser keeps an unsigned number.
bool is_int64(const json& value) {
  return value.is_number_integer() &&
         !(value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{INT64_MAX});
}

}  // namespace

int64_t JsonFields::integer(const char* name) const {
  const json& value = at(name);
  if (!value.is_number_integer()) refuse(name, "an integer is wanted");
  if (!is_int64(value)) refuse(name, "the number is too large");
  return value.get<int64_t>();
}

int64_t JsonFields::integer(const char* name, int64_t fallback) const {
  return has(name) ? integer(name) : fallback;
}

std::vector<int64_t> JsonFields::integers(const char* name) const {
  if (!has(name)) return {};
  if (at(name).is_number_integer()) return {integer(name)};
  if (!at(name).is_array()) refuse(name, "an integer or a list of integers is wanted");
  std::vector<int64_t> all;
  for (const json& item : at(name)) {
    if (!is_int64(item)) refuse(name, "an integer or a list of integers is wanted");
    all.push_back(item.get<int64_t>());
  }
  return all;
}

double JsonFields::number(const char* name) const {
  if (!at(name).is_number()) refuse(name, "a number is wanted");
  return at(name).get<double>();
}

double JsonFields::number(const char* name, double fallback) const {
  return has(name) ? number(name) : fallback;
}

bool JsonFields::boolean(const char* name, bool fallback) const {
  if (!has(name)) return fallback;
  if (!at(name).is_boolean()) refuse(name, "true or false is wanted");
  return at(name).get<bool>();
}

std::string JsonFields::text(const char* name) const {
  if (!at(name).is_string()) refuse(name, "a string is wanted");
  return at(name).get<std::string>();
}

std::string JsonFields::text(const char* name, const std::string& fallback) const {
  return has(name) ? text(name) : fallback;
}

std::vector<std::string> JsonFields::texts(const char* name) const {
  std::vector<std::string> all;
  if (!has(name)) return all;
  if (!at(name).is_array()) refuse(name, "a list of strings is wanted");
  for (const json& item : at(name)) {
    if (!item.is_string()) refuse(name, "a list of strings is wanted");
    all.push_back(item.get<std::string>());
  }
  return all;
}

const json& JsonFields::object(const char* name) const {
  if (!at(name).is_object()) refuse(name, "an object is wanted");
  return at(name);
}

}  // namespace temper
