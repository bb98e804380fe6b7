// What this rank computes on: its share of the node's cores, or a GPU.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "comm/watchdog.h"
#include "launch/run_config.h"

namespace temper {

struct Machine {
  at::Device device = at::kCPU;
  int threads = 1;
  int cores = 1;                  ///< that this rank may run on, alone or with others
  std::string note;               ///< a hint for a person, or empty
  std::vector<int> node_of_rank;  ///< of every world rank, nodes numbered by first appearance
  /// Ends the job where a rank stands still; null: one rank, or --run.timeout 0.
  std::shared_ptr<Watchdog> watchdog;
};

/// "2 threads each, on the CPU".
std::string describe(const Machine& machine);

/// What stands in front of this process's errors: "temper: rank 2 on HOST".
std::string process_name(const Communicator& world);
/// "rank 2 on HOST" of every world rank. Collective.
std::vector<std::string> rank_names(const Communicator& world);

/// Sets LibTorch's threads and picks the device; a GPU is the calling thread's current one from
/// here on. The local rank comes from the shared-memory communicator, never from a launcher's
/// environment. From here on the ranks are watched. Throws AgreedError where --run.device cuda
/// finds no GPU, or one does not answer. Collective.
Machine set_up_machine(const RunConfig& config, const Communicator& world);

}  // namespace temper
