#include "launch/options.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/any.hpp>
#include <boost/lexical_cast.hpp>
#include <boost/program_options/cmdline.hpp>
#include <boost/program_options/errors.hpp>
#include <boost/program_options/parsers.hpp>
#include <boost/program_options/positional_options.hpp>
#include <boost/program_options/variables_map.hpp>
#include <fstream>
#include <numeric>
#include <sstream>

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

// Boost reads "-1" as an unsigned number without a complaint.
void refuse_negative_unsigned(const po::option& option, const po::options_description& options) {
  const po::option_description* known = options.find_nothrow(option.string_key, false);
  if (known == nullptr || option.value.empty() || option.value.front().substr(0, 1) != "-") return;
  boost::any value;
  if (!known->semantic()->apply_default(value) || value.type() != typeid(uint64_t)) return;
  TORCH_CHECK_VALUE(false, "--", option.string_key, " is '", option.value.front(),
                    "': give a whole number of at least 0");
}

po::variables_map read_options(const std::string& command,
                               const std::vector<std::string>& arguments,
                               const po::options_description& own,
                               const po::options_description& all, const std::string& positional) {
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
      refuse_negative_unsigned(option, own);
    }
    po::store(line, values);

    if (values.count("config") != 0) {
      const std::string path = values["config"].as<std::string>();
      if (!path.empty()) {
        std::ifstream file(path);
        std::stringstream text;
        TORCH_CHECK_VALUE(file && text << file.rdbuf(), "--config ", path,
                          ": cannot read this file");
        po::parsed_options parsed(&own);
        try {
          parsed = po::parse_config_file(text, own, /*allow_unregistered=*/true);
        } catch (const po::error& error) {
          TORCH_CHECK_VALUE(false, path, ": ", error.what(),
                            "; lines are [section], key = value, or # comment");
        }
        for (const po::option& option : parsed.options) {
          TORCH_CHECK_VALUE(!option.unregistered || knows(all, option.string_key), path,
                            ": unknown key ", option.string_key, ": did you mean ",
                            nearest_name(option.string_key, names_of(own)), "?");
          refuse_negative_unsigned(option, own);
        }
        std::erase_if(parsed.options, [](const po::option& option) { return option.unregistered; });
        po::store(parsed, values);
      }
    }
  } catch (const po::validation_error& error) {
    std::string name = error.get_option_name();
    name.erase(0, std::min(name.find_first_not_of('-'), name.size()));
    const auto* known = own.find_nothrow(name, false);
    TORCH_CHECK_VALUE(false, error.what(),
                      known != nullptr ? ": " + known->description() : std::string());
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

void parse_options(const std::string& command, const std::vector<std::string>& arguments,
                   const po::options_description& own, const po::options_description& all,
                   const std::string& positional) {
  po::variables_map values = read_options(command, arguments, own, all, positional);
  po::notify(values);
}

std::string resolved_ini(const std::string& command, const std::vector<std::string>& arguments,
                         const po::options_description& own, const po::options_description& all,
                         const std::string& positional) {
  const po::variables_map values = read_options(command, arguments, own, all, positional);
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
        ini << name.substr(section.size() + 1) << " = " << text << '\n';
    }
  }
  return ini.str();
}

}  // namespace temper
