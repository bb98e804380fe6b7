// Being asked to stop: by a person (Ctrl-C), a scheduler that preempts, a time limit that comes
// near. A handler only sets a flag; ranks look at it where all of them can leave together, after a
// step and between stages, so that the state is saved and no message is left on its way.
#pragma once

#include <stdexcept>
#include <string>

#include "comm/mpi/communicator.h"

namespace temper {

/// From now on SIGUSR1, SIGTERM and SIGINT set the flag. A second SIGINT ends the process at once,
/// with exit code 130. SIGINT stays ignored where the process was started so (in the background of
/// a script).
void catch_stop_signals();

/// For a command that never looks at the flag: the signals end the process again, at once if one
/// has come.
void release_stop_signals();

/// Whether this rank was asked to stop.
bool asked_to_stop();

/// "SIGTERM": what this rank was asked with first; empty if it was not asked.
std::string stop_signal();

/// Whether any rank was asked to stop, or has `stopped`. Waits without holding a core. Collective.
bool any_asked_to_stop(const Communicator& comm, bool stopped = false);

/// All ranks leave together because one was asked to stop; nothing is under way. The message says
/// where the state is; rank 0's is printed.
class StopRequested : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace temper
