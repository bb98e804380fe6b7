// The choice of a transport for each pair of teacher and student: a pure function of what all ranks
// know, so that all come to the same answer.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "comm/channel_config.h"
#include "comm/placement.h"

namespace temper {

/// What the choice depends on.
struct TransportFacts {
  std::vector<int> node;         ///< of every world rank; ranks of one node share memory
  std::vector<std::string> gpu;  ///< of every world rank, as gpus_of_ranks() gives them
  bool nccl = false;             ///< this build has NCCL
  // As in TransportOptions.
  bool students_write = false;
  bool equal_units = true;
};

/// The way of each pair of a teacher and a student that it serves; kAuto for pairs that never talk.
class TransportChoice {
 public:
  TransportChoice() = default;
  /// `transport` for every pair of the placement.
  TransportChoice(const Placement& placement, Transport transport);

  Transport of(int teacher, int student) const {
    return pairs_[static_cast<size_t>(teacher * students_ + student)];
  }
  void set(int teacher, int student, Transport transport) {
    pairs_[static_cast<size_t>(teacher * students_ + student)] = transport;
  }
  bool uses(Transport transport) const;
  /// Pairs of nodes where `shares` is false go from shared memory to messages.
  void leave_shared_memory(const std::vector<bool>& shares, const Placement& placement,
                           const std::vector<int>& node_of_rank);
  /// "2 pairs through shared memory, 1 by messages".
  std::string describe() const;
  /// Why auto did not take NCCL where every rank has a GPU; empty: it did, or some have none.
  const std::string& note() const { return note_; }
  void set_note(std::string note) { note_ = std::move(note); }

 private:
  int students_ = 0;
  std::vector<Transport> pairs_;  // teacher by teacher
  std::string note_;
};

/// See SoftTargetTransports for the rules. Throws c10::ValueError naming --teacher.transport and
/// the ranks where `wish` cannot be had.
TransportChoice choose_transports(const Placement& placement, Payload payload, Transport wish,
                                  const TransportFacts& facts);

}  // namespace temper
