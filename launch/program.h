// temper from its arguments to its exit code.
#pragma once

#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "launch/exit_code.h"

namespace temper {

/// Runs `temper ARGUMENTS…` on every rank. Prints errors itself, on one rank where all ranks have
/// the same. Collective.
int run_program(const std::vector<std::string>& arguments, const Communicator& world);

}  // namespace temper
