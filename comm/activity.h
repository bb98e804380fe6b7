// What this process is doing, for the watchdog: the operation that it waits in, its step and phase.
// Written by the one thread that talks to other ranks (MPI is initialised for one thread, see
// mpi/environment.h), read by watchdogs of this process and, through shared memory, of others.
#pragma once

#include <atomic>
#include <cstdint>

#include "comm/cache_line.h"

namespace temper {

/// What a process waits for; kNone: it computes, reads or writes.
enum class Operation : uint32_t {
  kNone,
  kGroup,
  kBarrier,
  kBroadcast,
  kAllReduce,
  kAllGather,
  kGradients,
  kMessage,
  kSoftTargets,
  kFirstCredit,
  kCredit,
  kLastSends,
  kOwnTokens,
  kReport,
};
/// "the sum of gradients", "soft targets", …
const char* operation_name(Operation operation);

enum class Phase : uint32_t { kStart, kTraining, kServing, kEvaluation, kSaving };
/// "start", "training", …
const char* phase_name(Phase phase);

/// One process. The first part is its own, the second its watchdog's; times are those of
/// CLOCK_MONOTONIC, which all processes of a node share, in ns.
struct ActivityRecord {
  /// Operation, and world rank + 1 << 32. Changes after `moves`: who sees the change sees the move.
  alignas(kCacheLine) std::atomic<uint64_t> waits_in{0};
  std::atomic<uint64_t> moves{0};  ///< grows when a wait begins, brings something, or ends
  std::atomic<int64_t> step{-1};   ///< -1: none yet
  std::atomic<uint32_t> phase{0};  ///< Phase

  alignas(kCacheLine) std::atomic<int64_t> alive_ns{0};  ///< its watchdog has looked; 0: not yet
  std::atomic<int64_t> moved_ns{0};  ///< it was last seen to get on, waiting or computing
  /// waits_in as it was then found, or has been ever since. Changes after moved_ns: a wait that has
  /// just ended is not taken for work that has long stood still.
  std::atomic<uint64_t> found_in{0};
  std::atomic<int32_t> pid{0};
  std::atomic<int32_t> rank{-1};      ///< in the world
  std::atomic<uint32_t> reported{0};  ///< of a node's first record: somebody tells what is wrong
};

/// This process's record: its own memory until share_activity() names another place.
ActivityRecord& activity();
/// Goes on in `record`, which outlives the process's last wait, with `first` that of the node's
/// first process.
void share_activity(ActivityRecord& record, ActivityRecord& first);
/// Back to the process's own memory.
void own_activity();
/// True for the first process of the node that asks: it is the one that says on the screen why the
/// job ends.
bool claim_report();

/// While one lives, the process waits. Within another it changes nothing: the outer one knows
/// better what it is for. Two stores, and a look at the clock.
class Waiting {
 public:
  /// `peer`: the world rank that it waits for; -1: several, or not known.
  explicit Waiting(Operation operation, int peer = -1);
  ~Waiting();
  Waiting(const Waiting&) = delete;
  Waiting& operator=(const Waiting&) = delete;

  /// Something came: the deadline begins anew.
  static void moved();
  /// Seconds that this process has waited, in all.
  static double total_seconds();
};

/// Sets the phase while it lives.
class InPhase {
 public:
  explicit InPhase(Phase phase);
  ~InPhase();
  InPhase(const InPhase&) = delete;
  InPhase& operator=(const InPhase&) = delete;

 private:
  uint32_t before_;
};

}  // namespace temper
