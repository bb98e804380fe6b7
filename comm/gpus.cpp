#include "comm/gpus.h"

#include "comm/agree.h"
#include "comm/nccl/link.h"

namespace temper {

std::vector<std::string> gpus_of_ranks(const Communicator& comm, at::Device device) {
  std::string own;
  agree(comm, [&] { own = device.is_cuda() ? gpu_uuid(device) : ""; });
  return comm.all_gather(own);
}

std::optional<std::pair<int, int>> ranks_on_one_gpu(const std::vector<std::string>& gpus) {
  for (size_t rank = 0; rank < gpus.size(); ++rank) {
    for (size_t other = 0; other < rank; ++other) {
      if (!gpus[rank].empty() && gpus[other] == gpus[rank])
        return std::pair{static_cast<int>(other), static_cast<int>(rank)};
    }
  }
  return std::nullopt;
}

}  // namespace temper
