// Collectives over NCCL, on the caller's current CUDA stream: a kernel that was launched before
// sees its inputs, one launched after sees the result, and the host waits in wait_on_host() alone,
// where it asks NCCL for errors and the watchdog sees it. (And in the first calls: NCCL connects
// the ranks only then.)
#include <ATen/core/Tensor.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <nccl.h>

#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "comm/activity.h"
#include "comm/agree.h"
#include "comm/collectives.h"
#include "comm/gpus.h"
#include "comm/mpi/backoff.h"
#include "comm/nccl/comm.h"

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
  /// `device` is the current one.
  NcclCollectives(const Communicator& group, const ncclUniqueId& id, at::Device device)
      : rank_(group.rank()),
        size_(group.size()),
        device_(device.index()),
        comm_(group.size(), id, group.rank()) {}

  int rank() const override { return rank_; }
  int size() const override { return size_; }

  void all_reduce(const at::Tensor& tensor, Reduce op) override {
    check_tensor(tensor);
    const Waiting waiting(Operation::kAllReduce);
    const c10::cuda::CUDAGuard guard(device_);
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream(device_).stream();
    check_nccl(ncclAllReduce(tensor.const_data_ptr(), tensor.data_ptr(),
                             static_cast<size_t>(tensor.numel()), nccl_type(tensor.scalar_type()),
                             nccl_op(op), comm_.get(), stream),
               "ncclAllReduce", comm_.get());
    mark(stream);
  }

  void broadcast(const at::Tensor& tensor, int root) override {
    check_tensor(tensor);
    const Waiting waiting(Operation::kBroadcast);
    const c10::cuda::CUDAGuard guard(device_);
    const cudaStream_t stream = c10::cuda::getCurrentCUDAStream(device_).stream();
    check_nccl(ncclBroadcast(tensor.const_data_ptr(), tensor.data_ptr(), tensor.nbytes(), ncclUint8,
                             root, comm_.get(), stream),
               "ncclBroadcast", comm_.get());
    mark(stream);
  }

  /// On the stream, as everything here: there is nothing to move along and nothing to wait for.
  /// Called by autograd's thread as well, while the one that began the backward pass stands still.
  int64_t start(Collective kind, const at::Tensor& flat) override {
    const Waiting waiting(Operation::kGradients);
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
    mark(stream);
    return 0;
  }

  /// The copy to the host that follows would wait as long, but ask for no errors, and the watchdog
  /// would see nothing of it.
  void wait_on_host() override {
    if (under_way_.empty()) return;
    const Waiting waiting(Operation::kGradients);
    const Backoff backoff;
    while (!under_way_.empty()) {
      if (under_way_.front().done()) {
        Waiting::moved();  // among what is waited for is the backward pass of this very rank
        spare_.push_back(std::move(under_way_.front()));
        under_way_.pop_front();
        continue;
      }
      comm_.check_async();
      backoff.pause();
    }
    comm_.check_async();
  }

  bool any_thread() const override { return true; }

 private:
  /// Behind what `stream` was given last.
  void mark(cudaStream_t stream) {
    if (size_ == 1) return;  // nobody to wait for
    if (spare_.empty()) spare_.emplace_back();
    spare_.back().record(stream);
    under_way_.push_back(std::move(spare_.back()));
    spare_.pop_back();
  }

  void check_tensor(const at::Tensor& tensor) const {
    TORCH_CHECK(tensor.is_cuda() && tensor.device().index() == device_ && tensor.is_contiguous(),
                "a collective over NCCL needs a contiguous tensor on GPU ",
                static_cast<int>(device_));
  }

  int rank_;
  int size_;
  c10::DeviceIndex device_;
  NcclComm comm_;
  std::deque<CudaEvent> under_way_;  // one a call, in order, since wait_on_host()
  std::vector<CudaEvent> spare_;
};

}  // namespace

bool nccl_available() { return true; }

std::unique_ptr<Collectives> make_nccl_collectives(const Communicator& comm, at::Device device) {
  // Whatever fails on one rank only must fail on all before ncclCommInitRank, which would wait for
  // that rank.
  agree(comm, [&] { TORCH_CHECK(device.is_cuda(), "NCCL cannot serve ", device, ", only GPUs"); });
  if (const auto pair = ranks_on_one_gpu(gpus_of_ranks(comm, device))) {
    TORCH_CHECK(
        false, "NCCL cannot serve: ranks ", pair->first, " and ", pair->second,
        " of its group share one GPU. Start one rank per GPU, or let MPI carry the collectives");
  }

  ncclUniqueId id{};
  agree(comm, [&] {
    if (comm.rank() == 0) check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
  });
  const std::string bytes = comm.broadcast(std::string(id.internal, sizeof id.internal), 0);
  std::memcpy(id.internal, bytes.data(), sizeof id.internal);
  const Waiting waiting(Operation::kGroup);
  const c10::cuda::CUDAGuard guard(device);
  return std::make_unique<NcclCollectives>(comm, id, device);
}

}  // namespace temper
