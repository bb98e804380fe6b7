// The program's exit codes, as the README lists them.
#pragma once

namespace temper {

enum ExitCode : int {
  kDone = 0,
  kFailed = 1,            ///< the system: disk, network, a bug
  kBadConfiguration = 2,  ///< options, files, data
  kStopped = 3,           ///< asked to stop by a signal: what was done is saved, to be resumed
  kNumericTrouble = 4,    ///< loss, gradient or soft targets are no finite numbers
  kLostRank = 5,          ///< a rank was lost or stuck: the watchdog ended the job
};

}  // namespace temper
