// Collectives over NCCL, on the caller's current CUDA stream: a kernel that was launched before
// sees its inputs, one launched after sees the result, and the host never waits.
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <nccl.h>

#include <cstring>
#include <utility>

#include "comm/agree.h"
#include "comm/collectives.h"
#include "comm/nccl/comm.h"
#include "comm/nccl/link.h"

namespace temper {
namespace {

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

class NcclCollectives : public Collectives {
 public:
  NcclCollectives(const Communicator& group, const ncclUniqueId& id)
      : rank_(group.rank()),
        size_(group.size()),
        device_(c10::cuda::current_device()),
        comm_(group.size(), id, group.rank()) {}

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

  /// On the stream, as everything here: there is nothing to move along and nothing to wait for.
  int64_t start(Collective kind, const at::Tensor& flat) override {
    if (kind == Collective::kAllReduce) {
      all_reduce(flat, Reduce::kSum);
      return 0;
    }
    check_tensor(flat);
    TORCH_CHECK(flat.dim() == 1, "this collective takes a flat tensor, not one of ", flat.dim(),
                " dimensions");
    const bool gathers = kind == Collective::kAllGather;
    const ncclDataType_t type = gathers ? ncclUint8 : nccl_type(flat.scalar_type());
    const int64_t unit = gathers ? flat.element_size() : 1;  // NCCL's elements in one of ours
    const c10::cuda::CUDAGuard guard(device_);
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream(device_).stream();
    // Shards may differ in length, so each is a reduction or a broadcast of its own.
    check_nccl(ncclGroupStart(), "ncclGroupStart", comm_.get());
    for (int owner = 0; owner < size_; ++owner) {
      const Shard shard = shard_of(flat.numel(), owner, size_);
      if (shard.count == 0) continue;
      void* data = flat.narrow(0, shard.begin, shard.count).data_ptr();
      const auto count = static_cast<size_t>(shard.count * unit);
      if (gathers) {
        check_nccl(ncclBroadcast(data, data, count, type, owner, comm_.get(), stream),
                   "ncclBroadcast", comm_.get());
      } else {
        check_nccl(ncclReduce(data, data, count, type, ncclSum, owner, comm_.get(), stream),
                   "ncclReduce", comm_.get());
      }
    }
    check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm_.get());
    return 0;
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

}  // namespace

bool nccl_available() { return true; }

std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& comm) {
  // Whatever fails on one rank only must fail on all before ncclCommInitRank, which would wait for
  // that rank.
  std::string uuid;
  agree(comm, [&] { uuid = gpu_uuid(c10::Device(c10::kCUDA, c10::cuda::current_device())); });
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
