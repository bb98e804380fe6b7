// NCCL and CUDA objects that are owned, and their calls checked. Only for files of this folder, in
// a build with CUDA.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

namespace temper {

/// Throws c10::Error, naming call, code and rank, unless `code` is ncclSuccess.
void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm = nullptr);
/// Throws c10::Error, naming call, code and rank, unless `code` is cudaSuccess.
void check_cuda(cudaError_t code, const char* call);

/// An NCCL communicator: one GPU of this process among `size`.
class NcclComm {
 public:
  /// Collective over the `size` ranks.
  NcclComm(int size, const ncclUniqueId& id, int rank);
  NcclComm(NcclComm&& other) noexcept;
  NcclComm& operator=(NcclComm&& other) noexcept;
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;
  /// Waits for what is under way; with an exception on its way the peers may not come, and it
  /// aborts.
  ~NcclComm();

  ncclComm_t get() const { return comm_; }
  /// Throws c10::Error, after aborting, if an operation failed that had been started without
  /// waiting.
  void check_async();
  /// Ends what is under way; nothing can be started afterwards.
  void abort() noexcept;

 private:
  ncclComm_t comm_ = nullptr;
};

/// A CUDA event without timing.
class CudaEvent {
 public:
  CudaEvent();
  CudaEvent(CudaEvent&& other) noexcept;
  CudaEvent& operator=(CudaEvent&& other) noexcept;
  CudaEvent(const CudaEvent&) = delete;
  CudaEvent& operator=(const CudaEvent&) = delete;
  ~CudaEvent();

  /// Marks what `stream` has been given so far.
  void record(cudaStream_t stream);
  /// What `stream` is given from now on waits for the mark; the host does not.
  void block(cudaStream_t stream) const;
  /// True once the mark has been reached, or where nothing was recorded.
  bool done() const;

 private:
  cudaEvent_t event_ = nullptr;
};

}  // namespace temper
