// Which transport carries the soft targets of which pair of teacher and student, and the memory
// that they need: made once by all ranks, before the two ends of the channel.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "comm/placement.h"
#include "comm/soft_target_link.h"

namespace temper {

struct TransportOptions {
  Transport wish = Transport::kAuto;
  /// The node of every world rank; ranks of one node share memory. Empty: all ranks do.
  std::vector<int> node_of_rank;
  at::Device device = at::kCPU;  ///< of this rank's model
  /// Bytes of shared memory that a node may use; less than 0: what is free.
  int64_t shared_bytes = -1;
  /// Students write rows themselves, and teachers wait for the ids. The same on all ranks.
  bool students_write = false;
  /// Every student has as many micro-batches in a step. The same on all ranks.
  bool equal_units = true;
};

class SoftTargetTransports {
 public:
  /// Chooses a transport for every pair. auto: NCCL for all pairs, where every rank has a GPU of
  /// its own, the payload is made there (full, hidden), and what a student has granted does not
  /// wait for what it does next (Note [Receives ahead] in nccl/link.cpp); else shared memory for
  /// pairs of one node without GPUs, if the rings of the node's students fit; else messages. The
  /// same on every rank, and the same answer on every rank. Collective over `world`, which must
  /// outlive the object. Throws AgreedError, naming the ranks, where the wish cannot be had, and
  /// c10::Error or c10::ValueError where `config` is wrong.
  SoftTargetTransports(const Communicator& world, Placement placement, ChannelConfig config,
                       const TransportOptions& options);
  /// Frees what ranks share: collective, too (not with an exception on its way). Channel ends and
  /// what they handed out go first.
  ~SoftTargetTransports();
  SoftTargetTransports(const SoftTargetTransports&) = delete;
  SoftTargetTransports& operator=(const SoftTargetTransports&) = delete;

  const Communicator& world() const;
  const Placement& placement() const;
  const ChannelConfig& config() const;
  /// Of a pair, by index within the roles.
  Transport of(int teacher, int student) const;
  /// "2 pairs through shared memory, 1 by messages".
  std::string describe() const;
  /// Why auto did not take shared memory, or NCCL, where it would have; empty if it did.
  const std::string& note() const;

  /// For a student rank: its ring of D + 1 buffers, (bytes) uint8 each, and its link to a teacher.
  std::vector<at::Tensor> ring() const;
  std::unique_ptr<StudentLink> student_link(int teacher) const;
  /// For a teacher rank: its link to a student.
  std::unique_ptr<TeacherLink> teacher_link(int student) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace temper
