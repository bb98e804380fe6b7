#include "comm/nccl/comm.h"

#include <c10/cuda/CUDAGuard.h>
#include <c10/util/Exception.h>

#include <exception>
#include <string>
#include <utility>

#include "comm/mpi/check.h"
#include "comm/nccl/link.h"

namespace temper {

void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm) {
  TORCH_CHECK(code == ncclSuccess, call, " failed on ", this_rank(), ": ", ncclGetErrorString(code),
              " (code ", static_cast<int>(code), "): ", ncclGetLastError(comm));
}

void check_cuda(cudaError_t code, const char* call) {
  TORCH_CHECK(code == cudaSuccess, call, " failed on ", this_rank(), ": ", cudaGetErrorString(code),
              " (code ", static_cast<int>(code), ")");
}

namespace {

/// Of a communicator that is gone.
void warn_of_end(ncclResult_t code) {
  if (code != ncclSuccess)
    TORCH_WARN("an NCCL communicator did not end well: ", ncclGetErrorString(code), " (code ",
               static_cast<int>(code), "): ", ncclGetLastError(nullptr));
}

}  // namespace

NcclComm::NcclComm(int size, const ncclUniqueId& id, int rank) {
  check_nccl(ncclCommInitRank(&comm_, size, id, rank), "ncclCommInitRank");
}

NcclComm::NcclComm(NcclComm&& other) noexcept : comm_(std::exchange(other.comm_, nullptr)) {}

NcclComm& NcclComm::operator=(NcclComm&& other) noexcept {
  std::swap(comm_, other.comm_);
  return *this;
}

NcclComm::~NcclComm() {
  if (comm_ == nullptr) return;
  // ncclCommDestroy waits for what is under way.
  if (std::uncaught_exceptions() > 0) {
    abort();
    return;
  }
  warn_of_end(ncclCommDestroy(comm_));
}

void NcclComm::check_async() {
  if (comm_ == nullptr) return;
  ncclResult_t state = ncclSuccess;
  check_nccl(ncclCommGetAsyncError(comm_, &state), "ncclCommGetAsyncError", comm_);
  if (state == ncclSuccess || state == ncclInProgress) return;
  const std::string reason = ncclGetLastError(comm_);
  abort();
  TORCH_CHECK(false, "an NCCL transfer failed on ", this_rank(), ": ", ncclGetErrorString(state),
              " (code ", static_cast<int>(state), "): ", reason);
}

void NcclComm::abort() noexcept {
  if (comm_ == nullptr) return;
  warn_of_end(ncclCommAbort(std::exchange(comm_, nullptr)));
}

CudaEvent::CudaEvent() {
  check_cuda(cudaEventCreateWithFlags(&event_, cudaEventDisableTiming), "cudaEventCreateWithFlags");
}

CudaEvent::CudaEvent(CudaEvent&& other) noexcept : event_(std::exchange(other.event_, nullptr)) {}

CudaEvent& CudaEvent::operator=(CudaEvent&& other) noexcept {
  std::swap(event_, other.event_);
  return *this;
}

CudaEvent::~CudaEvent() {
  if (event_ != nullptr) cudaEventDestroy(event_);
}

void CudaEvent::record(cudaStream_t stream) {
  check_cuda(cudaEventRecord(event_, stream), "cudaEventRecord");
}

void CudaEvent::block(cudaStream_t stream) const {
  check_cuda(cudaStreamWaitEvent(stream, event_, 0), "cudaStreamWaitEvent");
}

bool CudaEvent::done() const {
  const cudaError_t code = cudaEventQuery(event_);
  if (code == cudaErrorNotReady) return false;
  check_cuda(code, "cudaEventQuery");
  return true;
}

std::string gpu_uuid(at::Device device) {
  cudaDeviceProp properties{};
  check_cuda(cudaGetDeviceProperties(&properties, device.index()), "cudaGetDeviceProperties");
  return std::string(properties.uuid.bytes, sizeof properties.uuid.bytes);
}

}  // namespace temper
