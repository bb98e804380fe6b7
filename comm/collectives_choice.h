// What carries the collectives of a group: a pure function of what all its ranks know, so that all
// come to the same answer, whatever each of them computes on.
#pragma once

#include <string>
#include <vector>

namespace temper {

struct CollectivesChoice {
  bool nccl = false;  ///< else MPI
  /// Of MPI: whether its tensors may lie in memory that a node's ranks share. A GPU's cannot, and
  /// making that memory is collective: all ranks do it, or none.
  bool shares_memory = true;
  /// Why MPI carries what GPUs compute, for a person; empty: NCCL does, or there are no GPUs.
  std::string note;
};

/// `gpus` as gpus_of_ranks() gives them, `names` of the same ranks ("rank 2 (host)"); `nccl`: this
/// build has it. NCCL where each rank has a GPU of its own, else MPI, also for a group of GPUs and
/// CPUs.
CollectivesChoice choose_collectives(const std::vector<std::string>& gpus,
                                     const std::vector<std::string>& names, bool nccl);

}  // namespace temper
