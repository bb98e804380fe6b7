// INI files, read and written so that every value comes back as it was: boost's own reader cuts a
// line at any '#'.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace temper {

struct IniEntry {
  std::string name;  ///< section.key; above the first section the key alone
  std::string value;
  int64_t line = 0;  ///< counted from 1
};

/// The entries, in order. Lines are `[section]`, `key = value`, or a comment that begins with '#';
/// blanks around a value are not part of it. A value in double quotes is what stands between them,
/// with \" \\ \n \r \t as in C. Throws c10::ValueError naming `path`, the line and the remedy; also
/// for a '#' beside a blank and outside quotes, which may be meant as a comment.
std::vector<IniEntry> parse_ini(const std::string& text, const std::string& path);

/// How `value` stands in a line that parse_ini() reads: in quotes where it needs them.
std::string ini_value(const std::string& value);

}  // namespace temper
