// The seam between the training step and what carries its reductions: MPI on host memory, NCCL on
// device memory.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>

#include "comm/flat_collective.h"
#include "comm/mpi/communicator.h"

namespace temper {

class Collectives {
 public:
  virtual ~Collectives() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  /// In place; float32, float64 or int64, contiguous, on the backend's device. Over MPI, sums of
  /// float32 and float64 are taken in rank order (on several nodes, for memory of
  /// shared_zeros_like(): in each node, then over the nodes), so their bits depend on the group
  /// alone. Collective.
  virtual void all_reduce(const at::Tensor& tensor, Reduce op = Reduce::kSum) = 0;
  virtual void broadcast(const at::Tensor& tensor, int root) = 0;

  /// Zeros of the shape, dtype and device of `like`. Over MPI on a host they lie in memory that the
  /// ranks of a node share, where there is enough of it: the collectives below, and all_reduce(),
  /// then work in place and nothing is copied to be sent. That holds for parts of the tensor too;
  /// every rank gives the same part. The memory is this object's, and goes with it. Collective.
  virtual at::Tensor shared_zeros_like(const at::Tensor& like);
  /// Why shared_zeros_like() had to give memory of this process alone; empty if it had not.
  virtual std::string note() const { return ""; }

  /// Begins a collective on `flat` (n), contiguous, float32 or float64 (all-gather: any dtype), and
  /// returns its ticket. Where the backend can, it goes on while the caller computes and now and
  /// then calls progress(). Shards are those of shard_of(n, rank(), size()). Reduce-scatter gives
  /// the bits of all_reduce() over MPI, and the same up to rounding over NCCL. All ranks start the
  /// same ones in the same order; they complete in that order.
  virtual int64_t start(Collective kind, const at::Tensor& flat) = 0;
  virtual void progress() {}
  /// Until what was started up to `ticket` can be read (over NCCL: by kernels of the same stream).
  virtual void wait(int64_t /*ticket*/) {}
  /// Until all that was started can be written to again, too: no other rank needs it any more.
  virtual void finish() {}
  /// Until the host gets the results of all calls above without waiting for another rank. Over MPI
  /// that is so when they return; over NCCL this is where a rank waits, and where errors of what
  /// was started are thrown: before a result is copied to the host.
  virtual void wait_on_host() {}

  /// Whether another thread may call start(), one at a time: hooks of a GPU's tensors are called by
  /// autograd's own.
  virtual bool any_thread() const { return false; }

  /// The sum over ranks, of each rank's own shard; what else is in `flat` is lost. Collective.
  void reduce_scatter(const at::Tensor& flat);
  /// Each rank's own shard to all. Collective.
  void all_gather(const at::Tensor& flat);
};

struct MpiCollectivesOptions {
  /// The ranks of the group that share memory with this one, in the group's order; null: those of
  /// its node. For tests, which have one machine.
  const Communicator* node = nullptr;
  /// Bytes of shared memory that a node may use; less than 0: what is free.
  int64_t shared_bytes = -1;
  /// False: shared_zeros_like() gives memory of each process alone. The same on all ranks; for
  /// groups of CPUs and GPUs, which have no memory in common.
  bool shares_memory = true;
};

/// MPI. CUDA tensors go through pinned host memory (two ranks on one GPU, where NCCL cannot serve).
/// Destroyed by all ranks of a node together where it has given shared memory. Collective.
std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& comm,
                                                  const MpiCollectivesOptions& options = {});

/// NCCL over the ranks of `comm`, which carries the unique id; `device` is this rank's GPU. Throws
/// c10::Error in a build without CUDA, and where two ranks share a GPU. Collective.
std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& comm, at::Device device);

/// True if this build has NCCL.
bool nccl_available();

}  // namespace temper
