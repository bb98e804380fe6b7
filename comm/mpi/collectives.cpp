// Collectives over MPI. Tensors in the memory that the ranks of a node share are reduced there
// (comm/shared_collectives.h); others go by messages (comm/mpi/exchange.h). CUDA tensors are staged
// through pinned host memory: Debian's Open MPI knows nothing of GPUs.
#include "comm/collectives.h"

#include <ATen/ATen.h>

#include <functional>
#include <map>
#include <new>
#include <optional>
#include <utility>

#include "comm/activity.h"
#include "comm/mpi/backoff.h"
#include "comm/mpi/check.h"
#include "comm/mpi/exchange.h"
#include "comm/mpi/shared_window.h"
#include "comm/ordered_sum.h"
#include "comm/shared_collectives.h"

namespace temper {
namespace {

/// Sums of this many bytes, over all ranks, are gathered and added everywhere: one message a rank
/// rather than two to each.
constexpr int64_t kSmallBytes = int64_t{64} << 10;
/// In front of the tensor in every rank's segment of a window: its counters, on a page.
constexpr int64_t kCounterBytes = 4096;
static_assert(sizeof(OperationCounters) <= kCounterBytes);

/// Memory of shared_zeros_like().
struct SharedTensor {
  std::unique_ptr<SharedWindow> window;
  std::vector<char*> data;  // of each rank of the node
  at::Tensor own;           // (bytes) uint8, this rank's

  /// Nobody holds what was handed out.
  bool unused() const { return own.storage().use_count() == 1; }
};

class MpiCollectives : public Collectives {
 public:
  MpiCollectives(Communicator comm, const MpiCollectivesOptions& options)
      : comm_(std::move(comm)),
        shared_bytes_(options.shared_bytes),
        shares_memory_(options.shares_memory) {
    if (options.node != nullptr) node_.emplace(options.node->dup());
    if (size() == 1) return;
    std::vector<std::vector<int>> held;
    for (int each = 0; each < size(); ++each) held.push_back({each});
    messages_.emplace(NodePlace{.rank = 0, .group_rank = {rank()}, .group_size = size()},
                      std::vector<OperationCounters*>{&own_counters_},
                      std::make_unique<Exchange>(comm_.dup(), std::move(held), size()));
  }

  int rank() const override { return comm_.rank(); }
  int size() const override { return comm_.size(); }
  std::string note() const override { return note_; }

  void all_reduce(const at::Tensor& tensor, Reduce op) override {
    check_contiguous(tensor);
    on_host(tensor, [&](const at::Tensor& host) {
      if (op != Reduce::kSum || !has_ordered_sum(host.scalar_type())) {
        comm_.all_reduce(host, op);
      } else if (static_cast<int64_t>(host.nbytes()) * size() <= kSmallBytes &&
                 find(host) == nullptr) {
        sum_small(host);
      } else {
        start(Collective::kAllReduce, host.view({-1}));  // (n)
        finish();
      }
    });
  }

  void broadcast(const at::Tensor& tensor, int root) override {
    check_contiguous(tensor);
    on_host(tensor, [&](const at::Tensor& host) { comm_.broadcast(host, root); });
  }

  at::Tensor shared_zeros_like(const at::Tensor& like) override;

  int64_t start(Collective kind, const at::Tensor& flat) override {
    check_contiguous(flat);
    TORCH_CHECK(flat.dim() == 1, "this collective takes a flat tensor, not one of ", flat.dim(),
                " dimensions");
    TORCH_CHECK(kind == Collective::kAllGather || has_ordered_sum(flat.scalar_type()),
                "sums of gradients are taken of float32 or float64, not ", flat.scalar_type());
    if (size() == 1 || flat.numel() == 0) return ticket_;
    if (!flat.device().is_cpu()) {
      on_host(flat, [&](const at::Tensor& host) { wait(start(kind, host)); });
      return ticket_;
    }
    FlatOperation operation{.ticket = ++ticket_, .kind = kind, .flat = flat, .data = {}};
    const SharedTensor* shared = find(flat);
    auto* own = static_cast<char*>(flat.data_ptr());
    if (shared == nullptr) {
      operation.data = {own};
      messages_->start(std::move(operation));
    } else {
      const int64_t offset = own - shared->data[static_cast<size_t>(node_->rank())];
      for (char* data : shared->data) operation.data.push_back(data + offset);
      shared_->start(std::move(operation));
    }
    move_on();
    return ticket_;
  }

  void progress() override { move_on(); }

  void wait(int64_t ticket) override {
    until([&] {
      return (!messages_ || messages_->readable(ticket)) && (!shared_ || shared_->readable(ticket));
    });
  }

  void finish() override {
    until([&] { return (!messages_ || messages_->idle()) && (!shared_ || shared_->idle()); });
  }

 private:
  static void check_contiguous(const at::Tensor& tensor) {
    TORCH_CHECK(tensor.is_contiguous(), "a collective needs a contiguous tensor");
  }

  static void on_host(const at::Tensor& tensor,
                      const std::function<void(const at::Tensor&)>& call) {
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

  void sum_small(const at::Tensor& tensor) const {
    const int64_t n = tensor.numel();
    if (n == 0 || size() == 1) return;
    const Waiting waiting(Operation::kAllReduce);
    const at::Tensor all = at::empty({size() * n}, tensor.options());  // (R n)
    const auto bytes = static_cast<int>(tensor.nbytes());
    check_mpi(MPI_Allgather(tensor.const_data_ptr(), bytes, MPI_BYTE, all.data_ptr(), bytes,
                            MPI_BYTE, comm_.handle()),
              "MPI_Allgather");
    std::vector<const void*> from;
    for (int each = 0; each < size(); ++each)
      from.push_back(all.narrow(0, each * n, n).const_data_ptr());
    ordered_sum(from, {tensor.data_ptr()}, n, tensor.scalar_type());
  }

  /// The shared tensor that this one is a part of, if any.
  const SharedTensor* find(const at::Tensor& tensor) const {
    for (const SharedTensor& each : tensors_) {
      if (tensor.storage().unsafeGetStorageImpl() == each.own.storage().unsafeGetStorageImpl())
        return &each;
    }
    return nullptr;
  }

  int64_t unused_everywhere(int64_t bytes) const;
  void open_tensor(int64_t bytes);
  void open_shared(const SharedTensor& tensor);

  bool move_on() {
    const bool moved = messages_ && messages_->progress();
    return (shared_ && shared_->progress()) || moved;
  }

  /// Note [Waiting in shared memory]: MPI moves its messages only inside its calls. A rank that
  /// waits here for a peer may be the one that a teacher waits for, whose soft targets that peer
  /// needs; so it looks at MPI between two looks at the counters.
  template <typename Done>
  void until(const Done& done) {
    if (done()) return;
    const Waiting waiting(Operation::kGradients);
    Backoff backoff;
    while (!done()) {
      if (move_on()) {
        Waiting::moved();
        backoff = Backoff();
        continue;
      }
      int found = 0;
      check_mpi(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_.handle(), &found, MPI_STATUS_IGNORE),
                "MPI_Iprobe");
      backoff.pause();
    }
  }

  Communicator comm_;
  int64_t shared_bytes_;
  bool shares_memory_;
  std::string note_;
  std::optional<Communicator> node_;
  std::vector<SharedTensor> tensors_;
  OperationCounters own_counters_;
  // After what they point into: they go first.
  std::optional<SharedCollectives> messages_;  // every rank a node of its own; from two ranks on
  std::optional<SharedCollectives> shared_;    // from the first shared tensor on
  int64_t ticket_ = 0;
};

at::Tensor MpiCollectives::shared_zeros_like(const at::Tensor& like) {
  if (!shares_memory_ || !like.device().is_cpu() || like.numel() == 0 || size() == 1 ||
      !note_.empty())
    return at::zeros_like(like);
  if (!node_) node_.emplace(comm_.split_node());
  if (comm_.all_reduce(int64_t{node_->size()}, Reduce::kMax) == 1) return at::zeros_like(like);

  const int64_t reused = unused_everywhere(static_cast<int64_t>(like.nbytes()));
  if (reused < 0) {
    open_tensor(static_cast<int64_t>(like.nbytes()));
    if (!note_.empty()) return at::zeros_like(like);
  }
  const SharedTensor& tensor = reused < 0 ? tensors_.back() : tensors_[static_cast<size_t>(reused)];
  return tensor.own.view(like.scalar_type()).view(like.sizes()).zero_();  // as like
}

/// The place in tensors_ of memory that a model before this one has left on all ranks; -1: none.
int64_t MpiCollectives::unused_everywhere(int64_t bytes) const {
  int64_t place = -1;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    if (tensors_[i].own.numel() == bytes && tensors_[i].unused()) place = static_cast<int64_t>(i);
  }
  const int64_t least = comm_.all_reduce(place, Reduce::kMin);
  const int64_t most = comm_.all_reduce(place, Reduce::kMax);
  return least == most ? place : -1;
}

void MpiCollectives::open_tensor(int64_t bytes) {
  SharedTensor tensor;
  std::string trouble;
  tensor.window =
      try_shared_window(*node_, kCounterBytes + bytes, shared_bytes_,
                        "the gradients of rank " + std::to_string(rank()) + "'s node", &trouble);
  if (tensor.window) {
    for (int each = 0; each < node_->size(); ++each)
      tensor.data.push_back(static_cast<char*>(tensor.window->segment(each)) + kCounterBytes);
    new (tensor.window->segment(node_->rank())) OperationCounters();
    tensor.own = at::from_blob(tensor.data[static_cast<size_t>(node_->rank())], {bytes},
                               at::kByte);  // (bytes)
  }
  // All nodes or none: the order of the sum is the same on all. The counters exist when all have
  // been here.
  for (const std::string& each : comm_.all_gather(trouble)) {
    if (!each.empty() && note_.empty()) note_ = each + ": they are summed by messages instead";
  }
  if (!note_.empty()) return;
  if (!shared_) open_shared(tensor);
  tensors_.push_back(std::move(tensor));
}

/// The counters of the first shared tensor serve all of them: operations have one order.
void MpiCollectives::open_shared(const SharedTensor& tensor) {
  NodePlace place{.rank = node_->rank(), .group_rank = {}, .group_size = size()};
  for (const std::string& each : node_->all_gather(std::to_string(rank())))
    place.group_rank.push_back(std::stoi(each));
  std::unique_ptr<AcrossNodes> across;
  if (comm_.all_reduce(int64_t{place.one_node() ? 1 : 0}, Reduce::kMin) == 0) {
    std::map<int, std::vector<int>> by_leader;  // leaders in the group's order
    int member = 0;
    for (const std::string& leader : comm_.all_gather(std::to_string(place.group_rank[0])))
      by_leader[std::stoi(leader)].push_back(member++);
    std::vector<std::vector<int>> held;
    for (auto& [leader, ranks] : by_leader) held.push_back(std::move(ranks));
    const bool leads = node_->rank() == 0;
    Communicator members = comm_.split(leads ? 0 : 1, rank());
    if (leads) across = std::make_unique<Exchange>(std::move(members), std::move(held), size());
  }
  std::vector<OperationCounters*> counters;
  for (char* data : tensor.data)
    counters.push_back(reinterpret_cast<OperationCounters*>(data - kCounterBytes));
  shared_.emplace(std::move(place), std::move(counters), std::move(across));
}

}  // namespace

std::unique_ptr<Collectives> make_mpi_collectives(const Communicator& comm,
                                                  const MpiCollectivesOptions& options) {
  return std::make_unique<MpiCollectives>(comm.dup(), options);
}

}  // namespace temper
