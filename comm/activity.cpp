#include "comm/activity.h"

#include <chrono>

namespace temper {
namespace {

using Clock = std::chrono::steady_clock;

// Of the process, as MPI's own state is; the thread that calls MPI writes them.
ActivityRecord own_record;
ActivityRecord* current = &own_record;
ActivityRecord* first_of_node = &own_record;
int depth = 0;  // of Waiting
Clock::time_point wait_began;
Clock::duration waited{};

void take_over(const ActivityRecord& from, ActivityRecord& to) {
  to.waits_in = from.waits_in.load();
  to.moves = from.moves.load();
  to.step = from.step.load();
  to.phase = from.phase.load();
}

void add_move() {
  // One writer.
  current->moves.store(current->moves.load(std::memory_order_relaxed) + 1,
                       std::memory_order_relaxed);
}

}  // namespace

const char* operation_name(Operation operation) {
  switch (operation) {
    case Operation::kNone:
      return "its own work";
    case Operation::kGroup:
      return "the making of a group";
    case Operation::kBarrier:
      return "a barrier";
    case Operation::kBroadcast:
      return "a broadcast";
    case Operation::kAllReduce:
      return "a reduction";
    case Operation::kAllGather:
      return "a gathering";
    case Operation::kGradients:
      return "the reduction of gradients";
    case Operation::kMessage:
      return "a message";
    case Operation::kSoftTargets:
      return "soft targets";
    case Operation::kFirstCredit:
      return "a student's first credit";
    case Operation::kCredit:
      return "a student's credit";
    case Operation::kLastSends:
      return "the last soft targets to leave";
    case Operation::kOwnTokens:
      return "the ids that a student wrote";
    case Operation::kReport:
      return "the teachers' reports";
  }
  return "an operation";
}

const char* phase_name(Phase phase) {
  switch (phase) {
    case Phase::kStart:
      return "start";
    case Phase::kTraining:
      return "training";
    case Phase::kServing:
      return "making soft targets";
    case Phase::kEvaluation:
      return "evaluation";
    case Phase::kSaving:
      return "saving";
  }
  return "a phase";
}

ActivityRecord& activity() { return *current; }

void share_activity(ActivityRecord& record, ActivityRecord& first) {
  take_over(*current, record);
  current = &record;
  first_of_node = &first;
}

void own_activity() {
  take_over(*current, own_record);
  current = first_of_node = &own_record;
}

bool claim_report() { return first_of_node->reported.exchange(1) == 0; }

Waiting::Waiting(Operation operation, int peer) {
  if (depth++ > 0) {
    add_move();
    return;
  }
  wait_began = Clock::now();
  add_move();
  current->waits_in.store(static_cast<uint64_t>(operation) | static_cast<uint64_t>(peer + 1) << 32,
                          std::memory_order_release);
}

Waiting::~Waiting() {
  add_move();
  if (--depth > 0) return;
  current->waits_in.store(0, std::memory_order_release);
  waited += Clock::now() - wait_began;
}

void Waiting::moved() { add_move(); }

double Waiting::total_seconds() { return std::chrono::duration<double>(waited).count(); }

InPhase::InPhase(Phase phase) : before_(current->phase.load(std::memory_order_relaxed)) {
  current->phase.store(static_cast<uint32_t>(phase), std::memory_order_relaxed);
}

InPhase::~InPhase() { current->phase.store(before_, std::memory_order_relaxed); }

}  // namespace temper
