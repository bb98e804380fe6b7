#include "tests/launch/launcher.h"

#include <sys/wait.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace temper {

namespace fs = std::filesystem;

namespace {

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) result += c == '\'' ? "'\\''" : std::string(1, c);
  return result + "'";
}

std::string program(const std::vector<std::string>& arguments) {
  std::string command = quoted(TEMPER_PROGRAM);
  for (const std::string& argument : arguments) command.append(" ").append(quoted(argument));
  return command;
}

Outcome run_command(const std::string& what, int timeout_s) {
  const ScratchDir scratch;
  std::string command = "timeout -k 5 " + std::to_string(timeout_s) + " " + what;
  command.append(" </dev/null >").append(quoted(scratch / "out"));
  command.append(" 2>").append(quoted(scratch / "err"));
  const auto start = std::chrono::steady_clock::now();
  const int status = std::system(command.c_str());
  Outcome outcome;
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  outcome.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.out = read_text(scratch / "out");
  outcome.err = read_text(scratch / "err");
  return outcome;
}

}  // namespace

Outcome launch(const std::vector<std::string>& arguments, int ranks, int timeout_s) {
  if (ranks > 0) return launch_groups({{ranks, arguments, ""}}, timeout_s);
  return run_command(program(arguments), timeout_s);
}

Outcome launch_groups(const std::vector<RankGroup>& groups, int timeout_s) {
  std::string command = std::string(TEMPER_MPIEXEC) + " --oversubscribe --bind-to none";
  for (const RankGroup& group : groups) {
    if (&group != &groups.front()) command += " :";
    command += " -n " + std::to_string(group.ranks);
    if (!group.working_dir.empty()) command += " -wdir " + quoted(group.working_dir);
    command += " " + program(group.arguments);
  }
  return run_command(command, timeout_s);
}

ScratchDir::ScratchDir() {
  std::string pattern = (fs::temp_directory_path() / "temper-test-XXXXXX").string();
  if (mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("cannot make " + pattern);
  path_ = pattern;
}

ScratchDir::~ScratchDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

std::string read_text(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

void write_text(const std::string& path, const std::string& content) {
  std::ofstream file(path, std::ios::binary);
  file << content;
}

namespace {

double value_of(const nlohmann::json& number) {
  return number.is_null() ? std::numeric_limits<double>::quiet_NaN() : number.get<double>();
}

}  // namespace

std::vector<double> metric(const std::string& path, const std::string& key) {
  std::vector<double> values;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    values.push_back(value_of(nlohmann::json::parse(line).at(key)));
  return values;
}

}  // namespace temper
