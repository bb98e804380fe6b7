#include "launch/ini_file.h"

#include <c10/util/Exception.h>

#include <algorithm>

namespace temper {

namespace {

constexpr const char* kBlanks = " \t\r";

std::string trimmed(const std::string& text) {
  const size_t begin = text.find_first_not_of(kBlanks);
  if (begin == std::string::npos) return "";
  return text.substr(begin, text.find_last_not_of(kBlanks) - begin + 1);
}

bool is_quoted(const std::string& value) {
  return value.size() >= 2 && value.front() == '"' && value.back() == '"';
}

/// True where a '#' has a blank before or behind it, as that of a comment has.
bool looks_commented(const std::string& value) {
  const auto blank = [&](size_t at) {
    return at < value.size() && (value[at] == ' ' || value[at] == '\t');
  };
  for (size_t at = value.find('#'); at != std::string::npos; at = value.find('#', at + 1)) {
    if (blank(at + 1) || (at > 0 && blank(at - 1))) return true;
  }
  return false;
}

/// What stands between the quotes of `value`; `where` is the line, for messages.
std::string unquoted(const std::string& value, const std::string& where) {
  std::string plain;
  for (size_t i = 1; i + 1 < value.size(); ++i) {
    TORCH_CHECK_VALUE(value[i] != '"', where, ": ", value,
                      " has a quotation mark within its quotes; write \\\" there");
    if (value[i] != '\\') {
      plain += value[i];
      continue;
    }
    const char next = i + 2 < value.size() ? value[++i] : '\0';
    TORCH_CHECK_VALUE(
        next == '"' || next == '\\' || next == 'n' || next == 'r' || next == 't', where, ": ",
        value, " is in quotes, where a backslash begins \\\", \\\\, \\n, \\r or \\t; write \\\\");
    plain += next == 'n' ? '\n' : next == 'r' ? '\r' : next == 't' ? '\t' : next;
  }
  return plain;
}

}  // namespace

std::vector<IniEntry> parse_ini(const std::string& text, const std::string& path) {
  std::vector<IniEntry> entries;
  std::string section;  // with its dot
  int64_t number = 0;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string line = trimmed(text.substr(begin, end - begin));
    begin = end + 1;
    ++number;
    if (line.empty() || line.front() == '#') continue;
    const std::string where = path + ", line " + std::to_string(number);
    const size_t equals = line.find('=');
    if (line.front() == '[' && line.back() == ']' && line.size() > 2) {
      section = trimmed(line.substr(1, line.size() - 2)) + ".";
      continue;
    }
    TORCH_CHECK_VALUE(line.front() != '[' && equals != std::string::npos && equals > 0, where,
                      " is '", line, "': lines are [section], key = value, or # comment");
    IniEntry entry{section + trimmed(line.substr(0, equals)), trimmed(line.substr(equals + 1)),
                   number};
    if (is_quoted(entry.value)) {
      entry.value = unquoted(entry.value, where);
    } else {
      TORCH_CHECK_VALUE(!looks_commented(entry.value), where, ": ", entry.name, " is '",
                        entry.value,
                        "': a comment stands on a line of its own; if the # belongs to the value, "
                        "put the value in double quotes");
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

std::string ini_value(const std::string& value) {
  const bool plain = trimmed(value) == value && !is_quoted(value) && !looks_commented(value) &&
                     value.find_first_of("\n\r") == std::string::npos;
  if (plain) return value;
  std::string quoted = "\"";
  for (const char c : value) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? "\\n" : c == '\r' ? "\\r" : std::string(1, c);
  }
  return quoted + "\"";
}

}  // namespace temper
