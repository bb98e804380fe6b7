// The seam between the training step and what carries its reductions: MPI on host memory, NCCL on
// device memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>

#include "comm/mpi/communicator.h"

namespace temper {

class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// In place; float32, float64 or int64, contiguous, on the backend's device. Collective.
  virtual void all_reduce(const at::Tensor& tensor, Reduce op = Reduce::kSum) = 0;
  virtual void broadcast(const at::Tensor& tensor, int root) = 0;
};

/// MPI. CUDA tensors go through pinned host memory (two ranks on one GPU, where NCCL cannot serve).
std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& comm);

/// NCCL over the ranks of `comm`, which carries the unique id. Throws c10::Error in a build without
/// CUDA, and where two ranks share a GPU. Collective.
std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& comm);

/// True if this build has NCCL.
bool nccl_available();

}  // namespace temper
