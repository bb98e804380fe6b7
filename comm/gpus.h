// Which GPU each rank of a group computes on. Its number says little: a scheduler may show every
// rank one GPU alone, which is number 0 then, and CUDA_VISIBLE_DEVICES may name them in any order.
#pragma once

#include <c10/core/Device.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

/// For each rank of `comm` a name of its `device` that no other GPU in the world has; empty: a CPU.
/// The same on all ranks. Throws AgreedError where a GPU does not answer. Collective.
std::vector<std::string> gpus_of_ranks(const Communicator& comm, at::Device device);

/// Two ranks that have the same GPU, the lower one first; nothing if there are none.
std::optional<std::pair<int, int>> ranks_on_one_gpu(const std::vector<std::string>& gpus);

}  // namespace temper
