// Note [Standing still]
// ~~~~~~~~~~~~~~~~~~~~~
// Each process has a thread that looks around a few times within the deadline. It writes down that
// it runs (alive_ns), and when the process was last seen to get on (moved_ns): a wait began,
// ended or brought something, or the process used time of a core outside any wait. The records
// lie in memory of the node, so that every process judges all of them by the same clock. A stopped
// process is known by its silence: SIGSTOP stops all threads. One that was stopped and goes on
// finds that its own last look was long ago, and that it knows nothing of the time between.
#include "comm/watchdog.h"

#include <c10/util/StringUtil.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <ctime>
#include <exception>
#include <fstream>
#include <iomanip>
#include <sstream>
#include <utility>

namespace temper {
namespace {

constexpr int64_t kSecond = 1'000'000'000;
constexpr int64_t kLeastCpu = 1'000'000;  // ns between two looks: it computes

int64_t clock_ns(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);
  return int64_t{now.tv_sec} * kSecond + now.tv_nsec;
}

std::string host_name() {
  char name[256] = "";
  gethostname(name, sizeof name - 1);
  return name;
}

std::string seconds_text(double seconds) {
  std::ostringstream out;
  out << std::fixed << std::setprecision(1) << seconds << " s";
  return out.str();
}

/// "training, step 17".
std::string place_of(const ProcessView& process) {
  std::string text = phase_name(process.phase);
  if (process.step >= 0) text += ", step " + std::to_string(process.step);
  return text;
}

/// "waited for soft targets from rank 0".
std::string doing(const ProcessView& process) {
  if (process.waits_in == Operation::kNone) return "was at its own work";
  std::string text = std::string("waited for ") + operation_name(process.waits_in);
  if (process.peer >= 0) text += " from rank " + std::to_string(process.peer);
  return text;
}

/// By /proc/PID/stat.
std::string state_of(int pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string line;
  if (!std::getline(file, line)) return "it is gone";
  const size_t name_end = line.rfind(')');
  const char state = name_end + 2 < line.size() ? line[name_end + 2] : '?';
  switch (state) {
    case 'T':
      return "it is stopped by a signal";
    case 't':
      return "a debugger holds it";
    case 'Z':
    case 'X':
      return "it has ended";
    case 'D':
      return "it waits for a disk or a network drive";
    default:
      return "it gets no time of a core, or cannot see this node's memory";
  }
}

std::string who(const ProcessView& process, const std::string& host) {
  return "rank " + std::to_string(process.rank) + " on " + host + " (process " +
         std::to_string(process.pid) + ")";
}

std::string list_waits(const std::vector<ProcessView>& node) {
  std::string text;
  size_t named = 0;
  for (const ProcessView& each : node) {
    if (each.waits_in == Operation::kNone) continue;
    if (++named > 8) return text + ", …";
    text += (text.empty() ? "rank " : ", rank ") + std::to_string(each.rank) + " " + doing(each) +
            " (" + place_of(each) + ")";
  }
  return text;
}

}  // namespace

std::optional<std::string> find_fault(const std::vector<ProcessView>& node, double deadline_seconds,
                                      bool whole_job, const std::string& host) {
  const auto waits = [](const ProcessView& each) { return each.waits_in != Operation::kNone; };
  std::string faults;
  size_t named = 0;
  const auto add = [&](const std::string& text) {
    if (++named <= 4) faults += (faults.empty() ? "" : "; ") + text;
  };
  for (const ProcessView& each : node) {
    if (each.silent_seconds <= deadline_seconds) continue;
    add(who(each, host) + " has not run for " + seconds_text(each.silent_seconds) + ": " +
        state_of(each.pid) + "; " + place_of(each) + ", it " + doing(each));
  }
  if (!faults.empty()) {
    for (const ProcessView& each : node) {
      if (each.silent_seconds > deadline_seconds || !waits(each)) continue;
      return faults + "; rank " + std::to_string(each.rank) + " " + doing(each) + " (" +
             place_of(each) + ")";
    }
    return faults;
  }

  const auto still = [&](const ProcessView& each) { return each.still_seconds > deadline_seconds; };
  const auto waiting = std::find_if(node.begin(), node.end(), [&](const ProcessView& each) {
    return waits(each) && still(each);
  });
  if (waiting == node.end()) return std::nullopt;
  for (const ProcessView& each : node) {
    if (waits(each) || !still(each)) continue;
    add(who(each, host) + " has neither computed nor waited for another rank for " +
        seconds_text(each.still_seconds) + " (" + place_of(each) + "), and rank " +
        std::to_string(waiting->rank) + " " + doing(*waiting) + " (" + place_of(*waiting) + ")");
  }
  if (!faults.empty()) return faults;

  double shortest = INFINITY;
  bool in_training = false;
  for (const ProcessView& each : node) {
    if (!waits(each)) return std::nullopt;
    shortest = std::min(shortest, each.still_seconds);
    const bool stage = each.waits_in == Operation::kBarrier ||
                       each.waits_in == Operation::kFirstCredit;  // may last as long as it likes
    in_training = in_training ||
                  (!stage && (each.phase == Phase::kTraining || each.phase == Phase::kServing));
  }
  if (whole_job && shortest > deadline_seconds) {
    return "all ranks wait for each other for " + seconds_text(shortest) + ": " + list_waits(node);
  }
  if (!whole_job && in_training && shortest > deadline_seconds + kRemoteSeconds) {
    return "all ranks of " + host + " have waited for " + seconds_text(shortest) +
           " for ranks of other nodes, which cannot be seen from here: " + list_waits(node);
  }
  return std::nullopt;
}

Watchdog::Watchdog(const Communicator& world, double deadline_seconds,
                   std::function<void(const std::string&)> on_fault)
    : deadline_seconds_(deadline_seconds),
      on_fault_(std::move(on_fault)),
      whole_job_(world.split_node().size() == world.size()),
      node_(world.split_node()) {
  std::string trouble;  // only that stopped ranks are not seen: no reason not to run
  window_ =
      try_shared_window(node_, sizeof(ActivityRecord), -1, "the watchdog's records", &trouble);
  if (!trouble.empty()) note_ = "a rank that stands still will not be noticed: " + trouble;
  if (window_) {
    auto* own = new (window_->segment(node_.rank())) ActivityRecord();
    node_.barrier();
    for (int rank = 0; rank < node_.size(); ++rank)
      records_.push_back(static_cast<const ActivityRecord*>(window_->segment(rank)));
    share_activity(*own, *static_cast<ActivityRecord*>(window_->segment(0)));
  } else {
    records_.push_back(&activity());
  }
  own_ = &activity();
  own_->pid = getpid();
  own_->rank = world.rank();
  since_ns_ = clock_ns(CLOCK_MONOTONIC);
  own_->moved_ns = since_ns_;
  own_->alive_ns = since_ns_;
  node_.barrier();
  thread_ = std::thread([this] { watch(); });
}

Watchdog::~Watchdog() {
  // Watched by the others until all are here.
  if (std::uncaught_exceptions() == 0) {
    try {
      node_.barrier();
    } catch (const std::exception&) {  // NOLINT: the job ends without it
    }
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ends_ = true;
  }
  wake_.notify_all();
  thread_.join();
  // An exception on its way still has to ask who reports it, and leaves the window mapped.
  if (std::uncaught_exceptions() == 0) own_activity();
}

void Watchdog::note_own(int64_t now) {
  const uint64_t waits_in = own_->waits_in.load(std::memory_order_acquire);
  const uint64_t moves = own_->moves.load(std::memory_order_relaxed);
  // Of all its threads but this one: some work is done by others while the main thread waits for
  // them.
  const int64_t cpu = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - clock_ns(CLOCK_THREAD_CPUTIME_ID);
  if (moves != seen_moves_ || (waits_in == 0 && cpu - seen_cpu_ns_ >= kLeastCpu))
    own_->moved_ns.store(now, std::memory_order_relaxed);
  own_->found_in.store(waits_in, std::memory_order_release);
  seen_moves_ = moves;
  seen_cpu_ns_ = cpu;
  own_->alive_ns.store(now, std::memory_order_relaxed);
}

std::vector<ProcessView> Watchdog::look(int64_t now) const {
  std::vector<ProcessView> views;
  for (const ActivityRecord* record : records_) {
    const auto seconds_since = [&](const std::atomic<int64_t>& moment) {
      const int64_t then = std::max(moment.load(std::memory_order_relaxed), since_ns_);
      return static_cast<double>(now - then) / kSecond;
    };
    const uint64_t waits_in = record->found_in.load(std::memory_order_acquire);
    ProcessView view;
    view.rank = record->rank.load(std::memory_order_relaxed);
    view.pid = record->pid.load(std::memory_order_relaxed);
    view.waits_in = static_cast<Operation>(waits_in & 0xffffffff);
    view.peer = waits_in == 0 ? -1 : static_cast<int>(waits_in >> 32) - 1;
    view.step = record->step.load(std::memory_order_relaxed);
    view.phase = static_cast<Phase>(record->phase.load(std::memory_order_relaxed));
    view.silent_seconds = seconds_since(record->alive_ns);
    view.still_seconds = seconds_since(record->moved_ns);
    views.push_back(view);
  }
  return views;
}

void Watchdog::watch() {
  // Of a process that waits nobody can tell whether the others do, too, who sees none of them.
  if (!window_ && node_.size() > 1) return;
  const auto pause = std::chrono::duration<double>(std::min(1.0, deadline_seconds_ / 10));
  // Others that were stopped with this process have been silent for as long, and a pause more: at
  // half the deadline they are not at fault yet.
  const auto late =
      static_cast<int64_t>(std::min(4 * pause.count() + 2, deadline_seconds_ / 2) * kSecond);
  std::unique_lock<std::mutex> lock(mutex_);
  int64_t last = clock_ns(CLOCK_MONOTONIC);
  while (!wake_.wait_for(lock, pause, [this] { return ends_; })) {
    const int64_t now = clock_ns(CLOCK_MONOTONIC);
    if (now - last > late) since_ns_ = now;
    last = now;
    note_own(now);
    const std::optional<std::string> fault =
        find_fault(look(now), deadline_seconds_, whole_job_, host_name());
    if (!fault) continue;
    if (!claim_report()) continue;  // another has spoken, and ends the job
    on_fault_(*fault);
    return;
  }
}

}  // namespace temper
