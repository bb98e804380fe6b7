#include "comm/transport_choice.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "comm/gpus.h"

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
  for (size_t rank = 0; rank < facts.gpu.size(); ++rank)
    if (facts.gpu[rank].empty()) return "rank " + std::to_string(rank) + " has no GPU";
  if (const auto pair = ranks_on_one_gpu(facts.gpu)) {
    return "ranks " + std::to_string(pair->first) + " and " + std::to_string(pair->second) +
           " share one GPU (start one rank per GPU)";
  }
  // Note [Receives ahead] in nccl/link.cpp has the reasons of both.
  if (facts.students_write) {
    return "students write rows themselves (--train.on-policy, --train.scheduled-sampling), and "
           "NCCL's receives would stand in the way of the ids that teachers wait for";
  }
  if (!facts.equal_units) {
    return "students have different numbers of micro-batches in a step (give a --train.batch that "
           "the students and --train.micro-batch divide)";
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

TransportChoice::TransportChoice(const Placement& placement, Transport transport)
    : students_(static_cast<int>(placement.students.size())) {
  for (const int teacher : placement.teachers) {
    for (int student = 0; student < students_; ++student)
      pairs_.push_back(placement.serves(teacher, student) ? transport : Transport::kAuto);
  }
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
  TransportChoice choice(placement, Transport::kMessages);
  const bool may_be_nccl = wish == Transport::kAuto || wish == Transport::kNccl;
  if (may_be_nccl) {
    const std::string obstacle = nccl_obstacle(payload, facts);
    TORCH_CHECK_VALUE(obstacle.empty() || wish == Transport::kAuto,
                      "--teacher.transport nccl cannot serve: ", obstacle,
                      "; --teacher.transport auto takes what can");
    if (obstacle.empty()) return {placement, Transport::kNccl};
    const auto no_gpu = std::find(facts.gpu.begin(), facts.gpu.end(), "");
    if (no_gpu == facts.gpu.end()) choice.set_note("not over NCCL: " + obstacle);
  }
  if (wish == Transport::kMessages) return choice;
  for (int teacher = 0; teacher < teachers; ++teacher) {
    const auto teacher_rank = static_cast<size_t>(placement.teachers[static_cast<size_t>(teacher)]);
    for (int student = 0; student < students; ++student) {
      const auto student_rank =
          static_cast<size_t>(placement.students[static_cast<size_t>(student)]);
      if (!placement.serves(static_cast<int>(teacher_rank), student)) continue;
      const bool one_node = facts.node[teacher_rank] == facts.node[student_rank];
      TORCH_CHECK_VALUE(one_node || wish == Transport::kAuto,
                        "--teacher.transport shared cannot serve teacher rank ", teacher_rank,
                        " and student rank ", student_rank,
                        ": they are on different nodes; --teacher.transport auto takes messages "
                        "for such pairs");
      const bool gpu = !facts.gpu[teacher_rank].empty() || !facts.gpu[student_rank].empty();
      if (one_node && (wish == Transport::kShared || !gpu))
        choice.set(teacher, student, Transport::kShared);
    }
  }
  return choice;
}

}  // namespace temper
