// Notices ranks that stand still. MPI does not: where one process is stopped, the others wait for
// it for ever.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "comm/activity.h"
#include "comm/mpi/communicator.h"
#include "comm/mpi/shared_window.h"

namespace temper {

/// What a watchdog sees of a process of its node.
struct ProcessView {
  int rank = 0;  ///< in the world
  int pid = 0;
  Operation waits_in = Operation::kNone;
  int peer = -1;  ///< that it waits for, if known
  int64_t step = -1;
  Phase phase = Phase::kStart;
  double silent_seconds = 0;  ///< no thread of it has run
  double still_seconds = 0;   ///< its wait has brought nothing; or it has used no time of a core
};

/// What is wrong, if anything, in words for a person: which rank, step and operation. `whole_job`:
/// the node holds all ranks. Rules, each with the deadline:
///
///   silent   no thread of a process has run: it is stopped or gone
///   stuck    a process neither waits nor computes, and another waits
///   circle   every process of the job waits
///   remote   every process of the node waits, within its training: it is for another node, where
///            nothing is seen from here; kRemoteSeconds later, so that a watchdog there can speak
///            first
///
/// A process that computes is never at fault, however long it takes, nor are those that wait for
/// it.
std::optional<std::string> find_fault(const std::vector<ProcessView>& node, double deadline_seconds,
                                      bool whole_job, const std::string& host);
constexpr double kRemoteSeconds = 5;

class Watchdog {
 public:
  /// Watches the ranks of this node from a thread of its own until destroyed; activity() lies in
  /// memory that they share from here on. `on_fault` gets the words, in one process of the node and
  /// from that thread; it ends the job. Collective over `world`.
  Watchdog(const Communicator& world, double deadline_seconds,
           std::function<void(const std::string& fault)> on_fault);
  /// Collective over the node, but while an exception unwinds the stack.
  ~Watchdog();
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;

  /// Why the ranks of this node are not watched, or empty.
  const std::string& note() const { return note_; }

 private:
  void watch();
  void note_own(int64_t now);
  std::vector<ProcessView> look(int64_t now) const;

  const double deadline_seconds_;
  const std::function<void(const std::string&)> on_fault_;
  const bool whole_job_;
  const Communicator node_;
  std::unique_ptr<SharedWindow> window_;  // null: no memory to share
  std::string note_;
  std::vector<const ActivityRecord*> records_;  // of the node's ranks
  ActivityRecord* own_ = nullptr;
  uint64_t seen_moves_ = 0;
  int64_t seen_cpu_ns_ = 0;
  int64_t since_ns_ = 0;  // what was before does not count: this process itself was stopped
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ends_ = false;
  std::thread thread_;
};

}  // namespace temper
