#include "launch/same_training.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <vector>

namespace temper {

namespace {

/// The values of each option; the first line's words under "".
std::map<std::string, std::string> options_of(const std::string& ini) {
  std::map<std::string, std::string> options;
  std::istringstream lines(ini);
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    if (options.empty() && line.starts_with("#")) options[""] = line;
    const size_t equals = line.find(" = ");
    if (line.starts_with("[") && line.ends_with("]")) {
      section = line.substr(1, line.size() - 2);
    } else if (!line.starts_with("#") && equals != std::string::npos) {
      std::string& value = options[section + "." + line.substr(0, equals)];
      value += (value.empty() ? "" : " ") + line.substr(equals + 3);
    }
  }
  return options;
}

/// Options that change where and how, but not what is trained: what lies at a path is compared by
/// fingerprint, and layouts differ by rounding.
bool may_differ(const std::string& option) {
  if (option == "run.seed" || option == "run.precision") return false;
  for (const char* section : {"run.", "launch.", "log.", "debug.", "compare."}) {
    if (option.starts_with(section)) return true;
  }
  static const std::vector<std::string> kOthers = {"data.text",
                                                   "data.tokens",
                                                   "data.tokenizer",
                                                   "model.path",
                                                   "student.path",
                                                   "teacher.path",
                                                   "teacher.store",
                                                   "teacher.tee",
                                                   "teacher.lookahead",
                                                   "teacher.transport",
                                                   "teacher.batch",
                                                   "train.micro-batch",
                                                   "train.shard-optimizer",
                                                   "train.activation-checkpointing",
                                                   "train.cuda-graphs",
                                                   "train.skip-limit",
                                                   "train.log-every",
                                                   "train.checkpoint-every",
                                                   "train.checkpoint-keep",
                                                   "train.checkpoint-best"};
  return std::find(kOthers.begin(), kOthers.end(), option) != kOthers.end();
}

}  // namespace

void check_same_training(const std::string& earlier_ini, const std::string& ini,
                         const std::string& where) {
  const std::map<std::string, std::string> earlier = options_of(earlier_ini), now = options_of(ini);
  for (const auto& [option, value] : earlier) {
    const auto found = now.find(option);
    if (found == now.end() || found->second == value || may_differ(option)) continue;
    TORCH_CHECK_VALUE(!option.empty(), where, " is of another command: '", value,
                      "', and this is '", found->second, "'; name another --run.dir");
    TORCH_CHECK_VALUE(false, where, " has ", option, " ", value, ", here it is ", found->second,
                      ": that would train something else; give --", option, " ", value,
                      " to go on, or name another --run.dir");
  }
}

}  // namespace temper
