// Options from the command line and from an INI file: the command line over the file over the
// defaults. What nobody declared is refused, with the nearest name that exists.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <string>
#include <vector>

namespace temper {

/// Reads `arguments` (without program and command) into the variables that `own` is bound to.
/// `--config FILE.ini` names a file; sections and keys there are the options' names (`[train]`
/// `steps = 100`). A key of the file that only another command knows (`all`) is passed over, so
/// that the configuration of a run serves every command. Throws c10::ValueError naming the option
/// or the file, the value and the remedy. `positional`: the option of several values that arguments
/// without a name go to; empty: such arguments are refused.
void parse_options(const std::string& command, const std::vector<std::string>& arguments,
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
