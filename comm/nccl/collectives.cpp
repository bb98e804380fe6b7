// Collectives over NCCL, on the caller's current CUDA stream: a kernel that was launched before
// sees its inputs, one launched after sees the result, and the host never waits.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>
#include <exception>
#include <utility>

#include "comm/agree.h"
#include "comm/collectives.h"
#include "comm/mpi/check.h"

namespace temper {
namespace {

/// Throws c10::Error unless `code` is ncclSuccess.
void check_nccl(ncclResult_t code, const char* call, ncclComm_t comm = nullptr) {
  TORCH_CHECK(code == ncclSuccess, call, " failed on ", this_rank(), ": ", ncclGetErrorString(code),
              " (code ", static_cast<int>(code), "): ", ncclGetLastError(comm));
}

void check_cuda(cudaError_t code, const char* call) {
  TORCH_CHECK(code == cudaSuccess, call, " failed on ", this_rank(), ": ", cudaGetErrorString(code),
              " (code ", static_cast<int>(code), ")");
}

ncclDataType_t nccl_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return ncclFloat32;
    case at::kDouble:
      return ncclFloat64;
    case at::kLong:
      return ncclInt64;
    default:
      TORCH_CHECK(false, "all_reduce takes float32, float64 or int64, not ", type);
  }
}

ncclRedOp_t nccl_op(Reduce op) {
  switch (op) {
    case Reduce::kSum:
      return ncclSum;
    case Reduce::kMax:
      return ncclMax;
    case Reduce::kMin:
      return ncclMin;
  }
  TORCH_INTERNAL_ASSERT(false);
}

/// An NCCL communicator that is owned: one GPU of this process among those of `group`.
class NcclComm {
 public:
  NcclComm(const Communicator& group, const ncclUniqueId& id) {
    check_nccl(ncclCommInitRank(&comm_, group.size(), id, group.rank()), "ncclCommInitRank");
  }
  NcclComm(NcclComm&& other) noexcept : comm_(std::exchange(other.comm_, nullptr)) {}
  NcclComm& operator=(NcclComm&& other) noexcept {
    std::swap(comm_, other.comm_);
    return *this;
  }
  NcclComm(const NcclComm&) = delete;
  NcclComm& operator=(const NcclComm&) = delete;
  ~NcclComm() {
    if (comm_ == nullptr) return;
    // ncclCommDestroy waits for what is under way, and with an exception on its way the peers may
    // not come.
    const bool leaving = std::uncaught_exceptions() > 0;
    const ncclResult_t code = leaving ? ncclCommAbort(comm_) : ncclCommDestroy(comm_);
    if (code != ncclSuccess)
      TORCH_WARN("an NCCL communicator did not end well: ", ncclGetErrorString(code));
  }
  ncclComm_t get() const { return comm_; }

 private:
  ncclComm_t comm_ = nullptr;
};

class NcclCollectives : public Collectives {
 public:
  NcclCollectives(const Communicator& group, const ncclUniqueId& id)
      : rank_(group.rank()),
        size_(group.size()),
        device_(c10::cuda::current_device()),
        comm_(group, id) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(const at::Tensor& tensor, Reduce op) override {
    check_tensor(tensor);
    const c10::cuda::CUDAGuard guard(device_);
    check_nccl(
        ncclAllReduce(tensor.const_data_ptr(), tensor.data_ptr(),
                      static_cast<size_t>(tensor.numel()), nccl_type(tensor.scalar_type()),
                      nccl_op(op), comm_.get(), c10::cuda::getCurrentCUDAStream(device_).stream()),
        "ncclAllReduce", comm_.get());
  }

  void broadcast(const at::Tensor& tensor, int root) override {
    check_tensor(tensor);
    const c10::cuda::CUDAGuard guard(device_);
    check_nccl(ncclBroadcast(tensor.const_data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8,
                             root, comm_.get(), c10::cuda::getCurrentCUDAStream(device_).stream()),
               "ncclBroadcast", comm_.get());
  }

 private:
  void check_tensor(const at::Tensor& tensor) const {
    TORCH_CHECK(tensor.is_cuda() && tensor.device().index() == device_ && tensor.is_contiguous(),
                "a collective over NCCL needs a contiguous tensor on GPU ",
                static_cast<int>(device_));
  }

  int rank_;
  int size_;
  c10::DeviceIndex device_;
  NcclComm comm_;
};

/// The current GPU by its UUID, which no other GPU in the world has, as bytes.
std::string gpu_uuid() {
  int device = 0;
  cudaDeviceProp properties{};
  check_cuda(cudaGetDevice(&device), "cudaGetDevice");
  check_cuda(cudaGetDeviceProperties(&properties, device), "cudaGetDeviceProperties");
  return std::string(properties.uuid.bytes, sizeof properties.uuid.bytes);
}

}  // namespace

bool nccl_available() { return true; }

std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& comm) {
  // Whatever fails on one rank only must fail on all before ncclCommInitRank, which would wait for
  // that rank.
  std::string uuid;
  agree(comm, [&] { uuid = gpu_uuid(); });
  const std::vector<std::string> uuids = comm.all_gather(uuid);
  for (size_t i = 0; i < uuids.size(); ++i) {
    for (size_t j = i + 1; j < uuids.size(); ++j) {
      TORCH_CHECK(
          uuids[i] != uuids[j], "NCCL cannot serve: ranks ", i, " and ", j,
          " of its group share one GPU. Start one rank per GPU, or let MPI carry the collectives");
    }
  }

  ncclUniqueId id{};
  agree(comm, [&] {
    if (comm.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
  });
  const std::string bytes = comm.broadcast(std::string(id.internal, sizeof id.internal), 0);
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  return std::make_unique<NcclCollectives>(comm, id);
}

}  // namespace temper
