// The NCCL links' twin in a build without NCCL: the same functions, which say so.
#include <c10/util/Exception.h>

#include "comm/nccl/link.h"

namespace temper {

bool nccl_links_available() { return false; }

std::string gpu_uuid(at::Device) {
  TORCH_CHECK(false, "this build of temper has no CUDA: configure it with -DTEMPER_WITH_CUDA=ON");
}

std::unique_ptr<NcclPair> make_nccl_pair(const Communicator&, int, bool, at::Device) {
  TORCH_CHECK(
      false,
      "this build of temper has no NCCL: configure it with -DTEMPER_WITH_CUDA=ON (preset cuda)");
}

}  // namespace temper
