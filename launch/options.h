// Options from the command line and from an INI file: the command line over the file over the
// defaults. What nobody declared is refused, with the nearest name that exists.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

namespace temper {

/// What parse_options() took from the file that `--config` names.
struct ConfigFile {
  std::string path;                      ///< empty: none was named
  std::map<std::string, int64_t> lines;  ///< where the options stand whose values come from there
  /// Its keys that only other commands know; none of a configuration that a run wrote, which has
  /// what its own command needs.
  std::vector<std::string> unused;

  /// Calls `check`. Where that throws a c10::ValueError of which the first option comes from the
  /// file, file and line are added.
  void locate(const std::function<void()>& check) const;
};

/// Reads `arguments` (without program and command) into the variables that `own` is bound to.
/// `--config FILE.ini` names a file; sections and keys there are the options' names (`[train]`
/// `steps = 100`), see ini_file.h. A key of the file that only another command knows (`all`) is
/// passed over, so that one file serves every command. Throws c10::ValueError naming the option or
/// the file and its line, the value and the remedy. `positional`: the option of several values that
/// arguments without a name go to; empty: such arguments are refused.
ConfigFile parse_options(const std::string& command, const std::vector<std::string>& arguments,
                         const boost::program_options::options_description& own,
                         const boost::program_options::options_description& all,
                         const std::string& positional = "");

/// How the text of resolved_ini() begins.
inline constexpr const char* kResolvedIniMark = "# temper ";

/// The resolved configuration as an INI file that gives the same run again: every option of `own`
/// that stands in a section, with the value that its bound variable got from parse_options().
std::string resolved_ini(const std::string& command, const std::vector<std::string>& arguments,
                         const boost::program_options::options_description& own,
                         const boost::program_options::options_description& all,
                         const std::string& positional = "");

/// The text with \n, \t, \r and \\ (itself) read as in C: what a command line or an INI file
/// cannot hold. Throws c10::ValueError naming `option` and the value for any other backslash.
std::string unescaped(const std::string& text, const std::string& option);

/// The name among `known` with the fewest edits (Levenshtein distance) to `name`.
std::string nearest_name(const std::string& name, const std::vector<std::string>& known);

}  // namespace temper
