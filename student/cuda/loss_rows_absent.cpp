// The twin in a build without CUDA: the same functions, which say so.
#include <c10/util/Exception.h>

#include "student/cuda/loss_rows.h"

namespace temper {

bool has_cuda_loss_rows(int64_t) { return false; }

void queue_cuda_loss_rows(const LossRows&, at::Device) {
  TORCH_CHECK(
      false,
      "this build of temper has no CUDA: configure it with -DTEMPER_WITH_CUDA=ON (preset cuda)");
}

}  // namespace temper
