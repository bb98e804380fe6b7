// A subcommand of temper: the options it declares, and what it does with them on every rank.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <memory>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

/// What main knows when it runs a command.
struct Invocation {
  const Communicator& world;
  std::string ini;       ///< the resolved configuration
  bool dry_run = false;  ///< print the plan and stop
  bool json = false;     ///< one JSON object on standard output, nothing else there
};

class Command {
 public:
  virtual ~Command() = default;
  virtual std::string name() const = 0;
  virtual std::string summary() const = 0;  ///< one line for `temper --help`
  /// Declares the command's options; parsing writes into this object.
  virtual void add_options(boost::program_options::options_description& options) = 0;
  /// The option that takes what stands on the command line without a name, once for each; empty:
  /// the command has none.
  virtual std::string positional() const { return ""; }
  /// Whether it has --json.
  virtual bool prints_json() const { return false; }
  /// Refuses what cannot be right whatever the files hold. Throws c10::ValueError.
  virtual void validate() const = 0;
  /// Refuses folders of models that are not there, before anything is begun. Throws
  /// c10::ValueError.
  virtual void check_models() const {}
  /// Whether run() looks for a request to stop (launch/stop_request.h). Where it does not, a signal
  /// ends the process at once.
  virtual bool stops_when_asked() const { return false; }
  /// Runs on every rank of the world. Throws AgreedError before anything is under way, other
  /// exceptions later; StopRequested where all ranks leave since one was asked to.
  virtual void run(const Invocation& invocation) = 0;
};

std::unique_ptr<Command> make_train_command();
std::unique_ptr<Command> make_distill_command();
std::unique_ptr<Command> make_record_command();
std::unique_ptr<Command> make_calibrate_command();
std::unique_ptr<Command> make_evaluate_command();
std::unique_ptr<Command> make_tokenize_command();
std::unique_ptr<Command> make_generate_command();
std::unique_ptr<Command> make_plan_command();
std::unique_ptr<Command> make_write_command();
std::unique_ptr<Command> make_report_command();

/// One of each, in the order in which the help lists them.
std::vector<std::unique_ptr<Command>> all_commands();

}  // namespace temper
