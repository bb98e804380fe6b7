// temper from its arguments to its exit code.
#pragma once

#include <string>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

/// Exit codes, as the README lists them.
enum ExitCode : int {
  kDone = 0,
  kFailed = 1,            ///< the system: disk, network, a bug
  kBadConfiguration = 2,  ///< options, files, data
  kStopped = 3,           ///< asked to stop by a signal: what was done is saved, to be resumed
  kNumericTrouble = 4,    ///< loss or gradient are no finite numbers
};

/// Runs `temper ARGUMENTS…` on every rank. Prints errors itself, on one rank where all ranks have
/// the same. Collective.
int run_program(const std::vector<std::string>& arguments, const Communicator& world);

}  // namespace temper
