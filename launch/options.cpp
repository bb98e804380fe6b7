#include "launch/options.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/any.hpp>
#include <boost/lexical_cast.hpp>
#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/value_semantic.hpp>
#include <boost/program_options/variables_map.hpp>
#include <numeric>
#include <sstream>
#include <typeinfo>

#include "data/json_input.h"
#include "launch/ini_file.h"

namespace temper {

namespace po = boost::program_options;

namespace {

std::vector<std::string> names_of(const po::options_description& options) {
  std::vector<std::string> names;
  for (const auto& option : options.options()) names.push_back(option->long_name());
  return names;
}

bool knows(const po::options_description& options, const std::string& name) {
  return options.find_nothrow(name, /*approx=*/false) != nullptr;
}

bool takes_several(const po::options_description& options, const std::string& name) {
  const auto* type = dynamic_cast<const po::typed_value_base*>(
      options.find(name, /*approx=*/false).semantic().get());
  return type != nullptr && type->value_type() == typeid(std::vector<std::string>);
}

/// What to give instead of a value that is none of the type.
std::string remedy(const std::type_info& type) {
  if (type == typeid(bool)) return "give true or false";
  if (type == typeid(double)) return "give a number";
  if (type == typeid(uint64_t)) return "give a whole number of at least 0";
  if (type == typeid(int64_t)) return "give a whole number";
  return "give another value";
}

/// Throws where `value` is none of the option's type; `where` names the option.
void check_value(const po::options_description& options, const std::string& name,
                 const std::string& value, const std::string& where) {
  const po::value_semantic& semantic = *options.find(name, /*approx=*/false).semantic();
  const auto* typed = dynamic_cast<const po::typed_value_base*>(&semantic);
  const std::type_info& type = typed != nullptr ? typed->value_type() : typeid(void);
  if (type == typeid(std::string) || type == typeid(std::vector<std::string>)) return;
  bool good = !value.empty();  // boost takes none for true
  if (type == typeid(uint64_t) && value.starts_with('-')) good = false;  // boost takes it
  try {
    boost::any ignored;
    if (good) semantic.parse(ignored, {value}, /*utf8=*/false);
  } catch (const po::error&) {
    good = false;
  }
  const bool digits =
      value.find_first_not_of("0123456789", value.starts_with('-') ? 1 : 0) == std::string::npos;
  const bool too_large = !good && digits && value.size() > 18;
  TORCH_CHECK_VALUE(good, where, " is '", value, "': ", remedy(type),
                    too_large ? "; this one has too many digits" : "");
}

/// "write it below its section, [train]", for a key that stands below none.
std::string section_advice(const std::string& key, const po::options_description& all) {
  std::string sections;
  for (const std::string& name : names_of(all)) {
    if (name.ends_with("." + key))
      sections += (sections.empty() ? "[" : " or [") + name.substr(0, name.find('.')) + "]";
  }
  return sections.empty() ? "" : "write it below its section, " + sections;
}

/// The options of `file`, whose path is set; its other fields are filled in. What is in `given`
/// already comes first.
po::parsed_options read_config(const po::options_description& own,
                               const po::options_description& all, const po::variables_map& given,
                               ConfigFile& file) {
  constexpr int64_t kMostBytes = 16 << 20;
  std::string text;
  try {
    text = read_limited_file(file.path, kMostBytes);
  } catch (const c10::ValueError& error) {
    TORCH_CHECK_VALUE(false, "--config ", error.what_without_backtrace());
  }
  po::parsed_options parsed(&own);
  std::map<std::string, int64_t> seen;
  for (const IniEntry& entry : parse_ini(text, file.path)) {
    const std::string& name = entry.name;
    const std::string where = file.path + ", line " + std::to_string(entry.line) + ": ";
    TORCH_CHECK_VALUE(name != "config", where,
                      "config can be given on the command line alone: leave it out");
    const bool is_own = knows(own, name);
    if (!is_own && !knows(all, name)) {
      const std::string advice =
          name.find('.') == std::string::npos ? section_advice(name, all) : std::string();
      TORCH_CHECK_VALUE(advice.empty(), where, name, " stands below no section: ", advice);
      TORCH_CHECK_VALUE(false, where, "unknown key ", name, ": did you mean ",
                        nearest_name(name, names_of(own)), "?");
    }
    const auto [first, is_new] = seen.emplace(name, entry.line);
    TORCH_CHECK_VALUE(is_new || takes_several(is_own ? own : all, name), where, name,
                      " stands in line ", first->second, " already: give it once");
    if (!is_own) {
      if (!text.starts_with(kResolvedIniMark)) file.unused.push_back(name);
      continue;
    }
    check_value(own, name, entry.value, where + name);
    if (given.count(name) == 0 || given[name].defaulted()) file.lines[name] = entry.line;
    po::option option;
    option.string_key = name;
    option.value = {entry.value};
    option.original_tokens = {name, entry.value};
    parsed.options.push_back(std::move(option));
  }
  return parsed;
}

po::variables_map read_options(const std::string& command,
                               const std::vector<std::string>& arguments,
                               const po::options_description& own,
                               const po::options_description& all, const std::string& positional,
                               ConfigFile& file) {
  po::variables_map values;
  try {
    const int style = po::command_line_style::allow_long |
                      po::command_line_style::long_allow_adjacent |
                      po::command_line_style::long_allow_next;
    po::command_line_parser parser(arguments);
    po::positional_options_description without_name;
    if (!positional.empty()) {
      without_name.add(positional.c_str(), -1);
      parser.positional(without_name);
    }
    const po::parsed_options line = parser.options(own).style(style).allow_unregistered().run();
    for (const po::option& option : line.options) {
      const std::string raw =
          option.original_tokens.empty() ? option.string_key : option.original_tokens.front();
      TORCH_CHECK_VALUE(option.position_key < 0 || !positional.empty(), "unexpected argument '",
                        raw, "': options are written --section.key value");
      if (option.unregistered) {
        std::string name = raw.substr(0, raw.find('='));
        name.erase(0, name.find_first_not_of('-'));
        TORCH_CHECK_VALUE(!knows(all, name), "--", name, " is no option of 'temper ", command,
                          "', only of another command; see 'temper ", command, " --help'");
        TORCH_CHECK_VALUE(false, "unknown option --", name, ": did you mean --",
                          nearest_name(name, names_of(own)), "? 'temper ", command,
                          " --help' lists all");
      }
      if (option.value.size() == 1)
        check_value(own, option.string_key, option.value.front(), "--" + option.string_key);
    }
    po::store(line, values);

    if (values.count("config") != 0) {
      file.path = values["config"].as<std::string>();
      TORCH_CHECK_VALUE(!file.path.empty(),
                        "--config is empty: name an INI file, or leave --config out");
      po::store(read_config(own, all, values, file), values);
    }
  } catch (const po::error& error) {
    TORCH_CHECK_VALUE(false, error.what(), "; see 'temper ", command, " --help'");
  }
  return values;
}

std::string text_of(const boost::any& value) {
  if (const auto* text = boost::any_cast<std::string>(&value)) return *text;
  if (const auto* flag = boost::any_cast<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* number = boost::any_cast<int64_t>(&value)) return std::to_string(*number);
  if (const auto* number = boost::any_cast<uint64_t>(&value)) return std::to_string(*number);
  if (const auto* number = boost::any_cast<double>(&value)) {
    // The shortest text that reads back as the same number.
    for (int digits = 1;; ++digits) {
      std::ostringstream out;
      out.precision(digits);
      out << *number;
      if (digits >= 17 || boost::lexical_cast<double>(out.str()) == *number) return out.str();
    }
  }
  TORCH_INTERNAL_ASSERT(false, "an option of an unexpected type");
}

}  // namespace

std::string unescaped(const std::string& text, const std::string& option) {
  std::string plain;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      plain += text[i];
      continue;
    }
    const char next = i + 1 < text.size() ? text[++i] : '\0';
    TORCH_CHECK_VALUE(next == 'n' || next == 't' || next == 'r' || next == '\\', "--", option,
                      " is '", text, "': a backslash begins \\n, \\t, \\r or \\\\ (itself)");
    plain += next == 'n' ? '\n' : next == 't' ? '\t' : next == 'r' ? '\r' : '\\';
  }
  return plain;
}

std::string nearest_name(const std::string& name, const std::vector<std::string>& known) {
  const auto distance = [](const std::string& a, const std::string& b) {
    std::vector<size_t> row(b.size() + 1);
    std::iota(row.begin(), row.end(), size_t{0});
    for (size_t i = 1; i <= a.size(); ++i) {
      size_t diagonal = std::exchange(row[0], i);
      for (size_t j = 1; j <= b.size(); ++j) {
        const size_t substitution = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({substitution, row[j] + 1, row[j - 1] + 1});
      }
    }
    return row.back();
  };
  TORCH_INTERNAL_ASSERT(!known.empty());
  return *std::min_element(known.begin(), known.end(),
                           [&](const std::string& a, const std::string& b) {
                             return distance(name, a) < distance(name, b);
                           });
}

void ConfigFile::locate(const std::function<void()>& check) const {
  try {
    check();
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    const size_t begin = message.find("--");
    const size_t name = begin == std::string::npos ? message.size() : begin + 2;
    const size_t end = message.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789.-", name);
    const auto found = lines.find(message.substr(name, end - name));
    if (found == lines.end()) throw;
    TORCH_CHECK_VALUE(false, message, " (it stands in ", path, ", line ", found->second, ")");
  }
}

ConfigFile parse_options(const std::string& command, const std::vector<std::string>& arguments,
                         const po::options_description& own, const po::options_description& all,
                         const std::string& positional) {
  ConfigFile file;
  po::variables_map values = read_options(command, arguments, own, all, positional, file);
  file.locate([&] { po::notify(values); });
  return file;
}

std::string resolved_ini(const std::string& command, const std::vector<std::string>& arguments,
                         const po::options_description& own, const po::options_description& all,
                         const std::string& positional) {
  ConfigFile file;
  const po::variables_map values = read_options(command, arguments, own, all, positional, file);
  std::ostringstream ini;
  ini << kResolvedIniMark << command << ": the resolved configuration of this run\n";
  std::vector<std::string> sections;
  for (const std::string& name : names_of(own)) {
    const std::string section = name.substr(0, name.find('.'));
    if (section != name && std::find(sections.begin(), sections.end(), section) == sections.end())
      sections.push_back(section);
  }
  for (const std::string& section : sections) {
    ini << "\n[" << section << "]\n";
    for (const std::string& name : names_of(own)) {
      if (name.rfind(section + ".", 0) != 0) continue;
      const boost::any& value = values[name].value();
      if (value.empty()) continue;  // no default, and not given
      const auto* many = boost::any_cast<std::vector<std::string>>(&value);
      for (const std::string& text : many ? *many : std::vector<std::string>{text_of(value)})
        ini << name.substr(section.size() + 1) << " = " << ini_value(text) << '\n';
    }
  }
  return ini.str();
}

}  // namespace temper
