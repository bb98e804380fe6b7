#include "comm/collectives_choice.h"

#include <algorithm>

#include "comm/gpus.h"

namespace temper {

CollectivesChoice choose_collectives(const std::vector<std::string>& gpus,
                                     const std::vector<std::string>& names, bool nccl) {
  const auto is_cpu = [](const std::string& gpu) { return gpu.empty(); };
  const auto cpu = std::find_if(gpus.begin(), gpus.end(), is_cpu);
  const auto gpu = std::find_if_not(gpus.begin(), gpus.end(), is_cpu);
  if (gpu == gpus.end()) return {};
  const auto name = [&](auto place) { return names[static_cast<size_t>(place - gpus.begin())]; };
  const std::string words = ": MPI carries their group's sums, through the host's memory";
  CollectivesChoice choice{.nccl = false, .shares_memory = false, .note = ""};
  if (cpu != gpus.end()) {
    choice.note = name(gpu) + " computes on a GPU and " + name(cpu) + " on a CPU" + words +
                  ", and GPUs wait for CPUs (--run.device cuda refuses ranks without one)";
  } else if (const auto pair = ranks_on_one_gpu(gpus)) {
    choice.note = names[static_cast<size_t>(pair->first)] + " and " +
                  names[static_cast<size_t>(pair->second)] + " share one GPU" + words;
  } else if (!nccl) {
    choice.note = "this build of temper has no NCCL" + words;
  } else {
    choice.nccl = true;
  }
  return choice;
}

}  // namespace temper
