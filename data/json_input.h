// Small JSON files from strangers. nlohmann-json alone merges duplicate keys in silence, reads -1
// as 2^64 - 1 where an unsigned is asked for, builds any depth, and takes a NUL byte for the end
// of the text, whatever follows; here those end in one readable line.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

/// Where a NUL byte stands, with which no text is JSON; npos: nowhere.
size_t find_nul(std::string_view text);

/// Parses a text of at most 32 levels, the innermost value counted. Throws c10::ValueError "WHERE:
/// REASON".
nlohmann::json parse_json(std::string_view text, const std::string& where);

/// The bytes of `path`, at most `max_bytes`. Throws c10::ValueError naming the file and the reason.
std::string read_limited_file(const std::string& path, int64_t max_bytes);

/// parse_json() of an object.
nlohmann::json parse_json_object(std::string_view text, const std::string& where);

/// Reads and parses `path`, an object of at most `max_bytes` and 32 levels.
/// Throws c10::ValueError naming the file and the reason.
nlohmann::json read_json_file(const std::string& path, int64_t max_bytes);

/// The fields of one JSON object, checked as they are taken. A null counts as missing. Every getter
/// throws c10::ValueError naming the file, the field, the value and what is wanted.
class JsonFields {
 public:
  /// Keeps references: both must outlive this object.
  JsonFields(const nlohmann::json& object, const std::string& file);

  bool has(const char* name) const;
  /// The field is there and null.
  bool is_null(const char* name) const;
  const std::string& file() const { return file_; }
  int64_t integer(const char* name) const;
  int64_t integer(const char* name, int64_t fallback) const;
  double number(const char* name) const;
  double number(const char* name, double fallback) const;
  bool boolean(const char* name, bool fallback) const;
  std::string text(const char* name) const;
  std::string text(const char* name, const std::string& fallback) const;
  /// An integer or an array of integers; empty where it is missing.
  std::vector<int64_t> integers(const char* name) const;
  /// An array of strings; empty where it is missing.
  std::vector<std::string> texts(const char* name) const;
  /// A nested object, which must be there.
  const nlohmann::json& object(const char* name) const;

  /// Throws c10::ValueError "FILE: FIELD is VALUE; REMEDY".
  [[noreturn]] void refuse(const char* name, const std::string& remedy) const;

 private:
  const nlohmann::json& at(const char* name) const;

  const nlohmann::json& object_;
  const std::string& file_;
};

}  // namespace temper
