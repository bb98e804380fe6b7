#include "comm/transport_choice.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

namespace temper {
namespace {

constexpr std::pair<Transport, const char*> kNames[] = {{Transport::kAuto, "auto"},
                                                        {Transport::kMessages, "messages"},
                                                        {Transport::kShared, "shared"},
                                                        {Transport::kNccl, "nccl"}};

/// Why NCCL cannot carry all pairs; empty if it can.
std::string nccl_obstacle(Payload payload, const TransportFacts& facts) {
  if (!facts.nccl) return "this build of temper has no NCCL (preset cuda has)";
  if (payload != Payload::kFull && payload != Payload::kHidden) {
    return std::string("the payload ") + payload_name(payload) +
           " is packed on the host (NCCL carries full and hidden)";
  }
  for (size_t rank = 0; rank < facts.gpu.size(); ++rank) {
    if (!facts.has_gpu[rank]) return "rank " + std::to_string(rank) + " has no GPU";
    for (size_t other = 0; other < rank; ++other) {
      if (facts.gpu[other] == facts.gpu[rank]) {
        return "ranks " + std::to_string(other) + " and " + std::to_string(rank) +
               " share one GPU (start one rank per GPU)";
      }
    }
  }
  return "";
}

}  // namespace

const char* transport_name(Transport transport) {
  for (const auto& [value, name] : kNames) {
    if (value == transport) return name;
  }
  return "unknown";
}

Transport transport_from_name(const std::string& name) {
  for (const auto& [value, known] : kNames) {
    if (name == known) return value;
  }
  TORCH_CHECK_VALUE(false, "--teacher.transport is '", name,
                    "': give auto, messages, shared or nccl");
}

bool TransportChoice::uses(Transport transport) const {
  return std::find(pairs_.begin(), pairs_.end(), transport) != pairs_.end();
}

void TransportChoice::leave_shared_memory(const std::vector<bool>& shares,
                                          const Placement& placement,
                                          const std::vector<int>& node_of_rank) {
  for (int student = 0; student < students_; ++student) {
    const auto rank = static_cast<size_t>(placement.students[static_cast<size_t>(student)]);
    if (shares[static_cast<size_t>(node_of_rank[rank])]) continue;
    for (int teacher = 0; teacher < static_cast<int>(placement.teachers.size()); ++teacher) {
      if (of(teacher, student) == Transport::kShared) set(teacher, student, Transport::kMessages);
    }
  }
}

std::string TransportChoice::describe() const {
  std::string text;
  const std::pair<Transport, const char*> how[] = {{Transport::kNccl, " over NCCL"},
                                                   {Transport::kShared, " through shared memory"},
                                                   {Transport::kMessages, " by messages"}};
  for (const auto& [transport, words] : how) {
    const auto count = std::count(pairs_.begin(), pairs_.end(), transport);
    if (count == 0) continue;
    if (text.empty()) {
      text = std::to_string(count) + (count == 1 ? " pair" : " pairs") + words;
    } else {
      text += ", " + std::to_string(count) + words;
    }
  }
  return text;
}

TransportChoice choose_transports(const Placement& placement, Payload payload, Transport wish,
                                  const TransportFacts& facts) {
  const int teachers = static_cast<int>(placement.teachers.size());
  const int students = static_cast<int>(placement.students.size());
  const bool may_be_nccl = wish == Transport::kAuto || wish == Transport::kNccl;
  if (may_be_nccl) {
    const std::string obstacle = nccl_obstacle(payload, facts);
    TORCH_CHECK_VALUE(obstacle.empty() || wish == Transport::kAuto,
                      "--teacher.transport nccl cannot serve: ", obstacle,
                      "; --teacher.transport auto takes what can");
    if (obstacle.empty()) return {teachers, students, Transport::kNccl};
  }
  TransportChoice choice(teachers, students, Transport::kMessages);
  if (wish == Transport::kMessages) return choice;
  for (int teacher = 0; teacher < teachers; ++teacher) {
    const auto teacher_rank = static_cast<size_t>(placement.teachers[static_cast<size_t>(teacher)]);
    for (int student = 0; student < students; ++student) {
      const auto student_rank =
          static_cast<size_t>(placement.students[static_cast<size_t>(student)]);
      const bool one_node = facts.node[teacher_rank] == facts.node[student_rank];
      TORCH_CHECK_VALUE(one_node || wish == Transport::kAuto,
                        "--teacher.transport shared cannot serve teacher rank ", teacher_rank,
                        " and student rank ", student_rank,
                        ": they are on different nodes; --teacher.transport auto takes messages "
                        "for such pairs");
      const bool gpu = facts.has_gpu[teacher_rank] || facts.has_gpu[student_rank];
      if (one_node && (wish == Transport::kShared || !gpu))
        choice.set(teacher, student, Transport::kShared);
    }
  }
  return choice;
}

}  // namespace temper
