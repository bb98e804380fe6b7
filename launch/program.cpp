#include "launch/program.h"

#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <cstdio>
#include <iostream>
#include <sstream>

#include "comm/activity.h"
#include "comm/agree.h"
#include "comm/mpi/environment.h"
#include "comm/soft_target_check.h"
#include "launch/alone_under_slurm.h"
#include "launch/checkpointer.h"
#include "launch/command.h"
#include "launch/machine.h"
#include "launch/options.h"
#include "launch/progress.h"
#include "launch/stop_request.h"
#include "student/training_step.h"

namespace temper {

namespace po = boost::program_options;

std::vector<std::unique_ptr<Command>> all_commands() {
  std::vector<std::unique_ptr<Command>> commands;
  commands.push_back(make_train_command());
  commands.push_back(make_distill_command());
  commands.push_back(make_record_command());
  commands.push_back(make_calibrate_command());
  commands.push_back(make_evaluate_command());
  commands.push_back(make_tokenize_command());
  commands.push_back(make_generate_command());
  commands.push_back(make_write_command());
  commands.push_back(make_plan_command());
  commands.push_back(make_report_command());
  return commands;
}

namespace {

/// What every command takes beside its own options.
struct GeneralOptions {
  bool help = false;
  bool dry_run = false;
  bool json = false;
  std::string config;

  /// `with_json`: of a command that prints JSON.
  void add_options(po::options_description& options, bool with_json) {
    auto add = options.add_options();
    add("help", po::bool_switch(&help), "print this and stop");
    add("config", po::value<std::string>(&config)->value_name("FILE"),
        "INI file with any of the options below; the command line comes first");
    add("dry-run", po::bool_switch(&dry_run),
        "print configuration, ranks, memory and token arithmetic, and stop");
    if (with_json)
      add("json", po::bool_switch(&json), "one JSON object on standard output, nothing else there");
  }
};

std::string general_help(const std::vector<std::unique_ptr<Command>>& commands) {
  std::ostringstream out;
  out << "temper: distributed knowledge distillation of language models\n\n"
         "usage: temper COMMAND [--config FILE.ini] [--section.key value ...]\n"
         "       mpirun -n RANKS temper COMMAND ...\n\ncommands:\n";
  for (const auto& command : commands) {
    out << "  " << command->name() << std::string(12 - command->name().size(), ' ')
        << command->summary() << '\n';
  }
  out << "\n'temper COMMAND --help' lists its options\n";
  return out.str();
}

/// Messages must mean the same to all ranks.
constexpr const char* kProgram = "temper " TEMPER_VERSION " with LibTorch " TORCH_VERSION;

/// What must be the same on all ranks, a line an option. Threads and devices are the machine's:
/// nodes may differ in them.
std::string shared_options(const std::string& ini, const std::string& general) {
  std::istringstream lines(ini);
  std::string result = general, section;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('[')) {
      section = "--" + line.substr(1, line.size() - 2) + ".";
    } else if (!section.empty() && !line.empty() &&
               !(section + line).starts_with("--run.threads ") &&
               !(section + line).starts_with("--run.device ")) {
      result += section + line + '\n';
    }
  }
  return result;
}

/// "my.ini: model.layers, model.width, model.heads and 2 more are not used by distill".
std::string unused_words(const ConfigFile& file, const Command& command) {
  constexpr size_t kNamed = 3;
  const size_t count = file.unused.size(), named = count <= kNamed + 1 ? count : kNamed;
  std::string words;
  for (size_t i = 0; i < named; ++i) {
    const bool last = named == count && i + 1 == count;
    words += (i == 0 ? "" : last ? " and " : ", ") + file.unused[i];
  }
  if (named < count) words += " and " + std::to_string(count - named) + " more";
  return file.path + ": " + words + (count == 1 ? " is" : " are") + " not used by " +
         command.name();
}

void run_command(const std::vector<std::string>& arguments, const Communicator& world) {
  const std::vector<std::unique_ptr<Command>> commands = all_commands();
  const bool asks_help = arguments.empty() || arguments[0] == "--help" || arguments[0] == "-h" ||
                         arguments[0] == "help";
  agree_on(world, "their program", kProgram, "install the same on every node");
  agree_on(world, "their command", asks_help ? "--help" : arguments[0],
           "give all ranks the same command line");
  if (asks_help) {
    if (world.rank() == 0) std::cout << general_help(commands) << std::flush;
    return;
  }
  Command* command = nullptr;
  po::options_description all("all");
  GeneralOptions general, others_general;
  others_general.add_options(all, /*with_json=*/true);
  std::vector<std::string> names;
  std::unique_ptr<po::options_description> own;
  GeneralOptions& used = general;
  for (const auto& each : commands) names.push_back(each->name());
  std::vector<std::unique_ptr<Command>> others =
      all_commands();  // only to know their options' names
  for (const auto& each : others) {
    po::options_description theirs;
    each->add_options(theirs);
    for (const auto& option : theirs.options()) {
      if (all.find_nothrow(option->long_name(), false) == nullptr) all.add(option);
    }
  }
  std::string ini;
  ConfigFile file;
  agree(world, [&] {
    const auto found = std::find_if(commands.begin(), commands.end(),
                                    [&](const auto& each) { return each->name() == arguments[0]; });
    TORCH_CHECK_VALUE(found != commands.end(), "unknown command '", arguments[0],
                      "': did you mean '", nearest_name(arguments[0], names),
                      "'? 'temper --help' lists all");
    command = found->get();
    own = std::make_unique<po::options_description>(
        "temper " + command->name() + ": " + command->summary(), 110, 60);
    used.add_options(*own, command->prints_json());
    command->add_options(*own);
    std::vector<std::string> rest(arguments.begin() + 1, arguments.end());
    std::replace(rest.begin(), rest.end(), std::string("-h"), std::string("--help"));
    if (std::find(rest.begin(), rest.end(), "--help") != rest.end()) {
      used.help = true;
      return;
    }
    file = parse_options(command->name(), rest, *own, all, command->positional());
    TORCH_CHECK_VALUE(!used.json || !used.dry_run,
                      "--json and --dry-run are both given, and a dry run prints no JSON: leave "
                      "one out");
    file.locate([&] {
      command->validate();
      command->check_models();
    });
    if (!command->stops_when_asked()) release_stop_signals();
    ini = resolved_ini(command->name(), rest, *own, all, command->positional());
  });
  agree_on(world, "their configuration",
           shared_options(ini, std::string("--help ") + (used.help ? "true" : "false") +
                                   "\n--dry-run " + (used.dry_run ? "true" : "false") +
                                   "\n--json " + (used.json ? "true" : "false") + "\n"),
           "give all ranks the same options and the same --config file");
  if (used.help) {
    if (world.rank() == 0) std::cout << *own << std::flush;
    return;
  }
  refuse_alone_under_slurm(world);
  if (world.rank() == 0 && !file.unused.empty()) say("note    " + unused_words(file, *command));
  command->run({world, ini, used.dry_run, used.json});
}

/// Says what ended this process, unless another of its node has spoken already: that one also ends
/// the job, and this waits for it.
void speak(const Communicator& world, const std::string& message) {
  if (claim_report()) {
    std::fprintf(stderr, "%s: error: %s\n", process_name(world).c_str(), message.c_str());
  } else {
    sleep(10);
  }
}

/// All students are here together; teachers may be in the middle of a message.
void speak_for_students(const Communicator& world, const std::exception& error) {
  if (world.rank() != 0) sleep(2);  // rank 0 speaks and ends the job
  speak(world, error.what());
}

}  // namespace

int run_program(const std::vector<std::string>& arguments, const Communicator& world) {
  int code = kFailed;
  try {
    run_command(arguments, world);
    return kDone;
  } catch (const AgreedError& error) {
    // All ranks are here together: they can leave in an orderly way.
    if (error.reporter)
      std::fprintf(stderr, "%s: error: %s\n", process_name(world).c_str(), error.what());
    return error.user_error ? kBadConfiguration : kFailed;
  } catch (const StopRequested& stop) {
    // All ranks are here together, with nothing under way.
    if (world.rank() == 0) std::fprintf(stderr, "temper: %s\n", stop.what());
    return kStopped;
  } catch (const NumericError& error) {
    code = kNumericTrouble;
    speak_for_students(world, error);
  } catch (const CheckpointError& error) {
    speak_for_students(world, error);
  } catch (const SoftTargetError& error) {
    code = kNumericTrouble;
    speak(world, error.what());
  } catch (const c10::ValueError& error) {
    code = kBadConfiguration;
    speak(world, plain_message(error));
  } catch (const std::exception& error) {
    speak(world, plain_message(error));
  }
  std::fflush(nullptr);
  if (world.size() > 1) MpiEnvironment::abort(code);  // or the peers would wait for ever
  return code;
}

}  // namespace temper
