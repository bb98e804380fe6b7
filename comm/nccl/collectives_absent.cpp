// NCCL's twin in a build without it: the same functions, which say so.
#include <c10/util/Exception.h>

#include "comm/collectives.h"

namespace temper {

bool nccl_available() { return false; }

std::unique_ptr<Collectives> make_nccl_collectives(const Communicator&, at::Device) {
  TORCH_CHECK(
      false,
      "this build of temper has no NCCL: configure it with -DTEMPER_WITH_CUDA=ON (preset cuda)");
}

}  // namespace temper
