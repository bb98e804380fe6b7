#include "student/loss_rows.h"

#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <c10/core/CPUAllocator.h>

#include <string>

#include "student/kernels/loss_rows_kernel.h"

namespace temper {
namespace {

// What this build has and this processor runs; ATEN_CPU_CAPABILITY chooses less, as for LibTorch.
LossRowsKernel* chosen_kernel() {
  const std::string capability = at::get_cpu_capability();
#if defined(TEMPER_KERNELS_X86)
  if (capability == "AVX512") return loss_rows_kernel_avx512;
  if (capability == "AVX2") return loss_rows_kernel_avx2;
#endif
  return loss_rows_kernel_default;
}

/// Kept by each thread from call to call.
struct Scratch {
  c10::DataPtr memory;
  size_t bytes = 0;

  void* of(size_t wanted) {
    if (wanted > bytes) {
      memory.clear();
      memory = c10::GetCPUAllocator()->allocate(wanted);  // aligned to 64 bytes
      bytes = wanted;
    }
    return memory.get();
  }
};

}  // namespace

void compute_loss_rows(const LossRows& block) {
  static LossRowsKernel* const kernel = chosen_kernel();
  const size_t element = block.dtype == ValueDtype::kDouble ? sizeof(double) : sizeof(float);
  const size_t bytes = static_cast<size_t>(kLossRowCopies * padded_vocab(block.vocab)) * element;
  at::parallel_for(0, block.rows, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    thread_local Scratch scratch;
    kernel(block, begin, end, scratch.of(bytes));
  });
}

}  // namespace temper
