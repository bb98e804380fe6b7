// Collectives over MPI. CUDA tensors are staged through pinned host memory: Debian's Open MPI knows
// nothing of GPUs.
#include "comm/collectives.h"

#include <functional>
#include <utility>

namespace temper {
namespace {

class MpiCollectives : public Collectives {
 public:
  explicit MpiCollectives(Communicator comm) : comm_(std::move(comm)) {}

  int rank() const override { return comm_.rank(); }
  int size() const override { return comm_.size(); }

  void all_reduce(const at::Tensor& tensor, Reduce op) override {
    on_host(tensor, [&](const at::Tensor& host) { comm_.all_reduce(host, op); });
  }

  void broadcast(const at::Tensor& tensor, int root) override {
    on_host(tensor, [&](const at::Tensor& host) { comm_.broadcast(host, root); });
  }

 private:
  static void on_host(const at::Tensor& tensor,
                      const std::function<void(const at::Tensor&)>& call) {
    TORCH_CHECK(tensor.is_contiguous(), "a collective needs a contiguous tensor");
    if (tensor.device().is_cpu()) return call(tensor);
    // Both copies wait for the tensor's stream: the host must not read early, nor free the staging
    // buffer early.
    at::Tensor host = at::empty(
        tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true));  // as tensor
    host.copy_(tensor);
    call(host);
    at::Tensor device = tensor;
    device.copy_(host);
  }

  Communicator comm_;
};

}  // namespace

std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& comm) {
  return std::make_unique<MpiCollectives>(comm.dup());
}

}  // namespace temper
