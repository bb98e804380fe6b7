// Note [Operations in shared memory]
// ~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~~
// Each rank has three counters that it alone writes, with release, and the others load, with
// acquire: who sees a count sees what was written before it. Operation k on one node:
//   - a rank stores started = k + 1 when its tensor is ready, and leaves the tensor alone;
//   - once all have, it adds up its slice of all tensors, in rank order, and writes the sum into
//     all of them (all-reduce) or its own (reduce-scatter, where the slice is its shard), or it
//     copies the others' shards into its own (all-gather), and stores done = k + 1. The ranks'
//     slices do not overlap, so nobody reads what another writes;
//   - it may read the result once all have done k (all-reduce: its tensor is written by all), or
//     once it has itself (the other two), and write to the tensor once all have.
// On several nodes the second step ends in the leader's tensor, with added = k + 1. The leader,
// once its whole node has added, exchanges with the other leaders and stores done; the rest of the
// node sees that, copies from the leader's tensor what it needs, and stores done, too.
// Operations are taken in the order in which they were started. There is no helper thread: a rank
// works for the others whenever it looks (progress()).

#include "comm/shared_collectives.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cstring>
#include <utility>

#include "comm/ordered_sum.h"

namespace temper {

SharedCollectives::SharedCollectives(NodePlace place, std::vector<OperationCounters*> counters,
                                     std::unique_ptr<AcrossNodes> across)
    : place_(std::move(place)), counters_(std::move(counters)), across_(std::move(across)) {
  TORCH_INTERNAL_ASSERT(static_cast<int>(counters_.size()) == place_.size());
  TORCH_INTERNAL_ASSERT((across_ != nullptr) == (!place_.one_node() && place_.rank == 0));
}

void SharedCollectives::start(FlatOperation operation) {
  TORCH_INTERNAL_ASSERT(static_cast<int>(operation.data.size()) == place_.size());
  operations_.push_back(std::move(operation));
  mine().started.store(++started_, std::memory_order_release);
}

bool SharedCollectives::everyone_beyond(Counter counter, int64_t number) const {
  for (const OperationCounters* each : counters_) {
    if ((each->*counter).load(std::memory_order_acquire) <= number) return false;
  }
  return true;
}

bool SharedCollectives::progress() {
  bool moved = false;
  while (added_ < started_ && everyone_beyond(&OperationCounters::started, added_)) {
    add(operation(added_++));
    mine().added.store(added_, std::memory_order_release);
    moved = true;
  }
  if (place_.one_node()) {
    if (done_ < added_) mine().done.store(done_ = added_, std::memory_order_release);
  } else {
    moved = cross() || moved;
  }
  while (first_ < done_ && everyone_beyond(&OperationCounters::done, first_)) {
    operations_.pop_front();
    ++first_;
    moved = true;
  }
  return moved;
}

bool SharedCollectives::cross() {
  const int64_t before = done_;
  while (done_ < added_) {
    if (across_ == nullptr) {  // the leader goes first
      if (counters_[0]->done.load(std::memory_order_acquire) <= done_) break;
      take(operation(done_));
    } else {
      if (!everyone_beyond(&OperationCounters::added, done_)) break;
      if (!crossing_) across_->start(operation(done_).kind, operation(done_).flat);
      crossing_ = !across_->test();
      if (crossing_) break;
    }
    mine().done.store(++done_, std::memory_order_release);
  }
  return done_ != before;
}

bool SharedCollectives::readable(int64_t ticket) const {
  for (int64_t number = first_; number < started_; ++number) {
    if (operation(number).ticket > ticket) break;
    if (number >= done_) return false;
    if (place_.one_node() && operation(number).kind == Collective::kAllReduce &&
        !everyone_beyond(&OperationCounters::done, number)) {
      return false;
    }
  }
  return true;
}

void SharedCollectives::add(const FlatOperation& operation) const {
  const int64_t n = operation.flat.numel();
  const int own = place_.rank;
  const auto shard = [&](int rank) {
    return shard_of(n, place_.group_rank[static_cast<size_t>(rank)], place_.group_size);
  };
  constexpr int kEverywhere = -1, kLeader = 0;
  if (!place_.one_node()) {
    if (operation.kind == Collective::kAllGather) {
      copy(operation, own, kLeader, shard(own));
    } else {
      sum_slice(operation, shard_of(n, own, place_.size()), kLeader);
    }
    return;
  }
  switch (operation.kind) {
    case Collective::kAllReduce:
      return sum_slice(operation, shard(own), kEverywhere);
    case Collective::kReduceScatter:
      return sum_slice(operation, shard(own), own);
    case Collective::kAllGather:
      for (int rank = 0; rank < place_.size(); ++rank) copy(operation, rank, own, shard(rank));
  }
}

void SharedCollectives::take(const FlatOperation& operation) const {
  const int64_t n = operation.flat.numel();
  const Shard own =
      shard_of(n, place_.group_rank[static_cast<size_t>(place_.rank)], place_.group_size);
  const int64_t end = own.begin + own.count;
  switch (operation.kind) {
    case Collective::kAllReduce:
      return copy(operation, 0, place_.rank, {0, n});
    case Collective::kReduceScatter:
      return copy(operation, 0, place_.rank, own);
    case Collective::kAllGather:
      copy(operation, 0, place_.rank, {0, own.begin});
      copy(operation, 0, place_.rank, {end, n - end});
  }
}

/// Into the tensor of rank `to` of the node, or of all (less than 0).
void SharedCollectives::sum_slice(const FlatOperation& operation, Shard slice, int to) const {
  if (slice.count == 0 || place_.size() == 1) return;
  const int64_t offset = slice.begin * operation.flat.element_size();
  std::vector<const void*> from;
  std::vector<void*> into;
  for (int rank = 0; rank < place_.size(); ++rank) {
    char* data = operation.data[static_cast<size_t>(rank)] + offset;
    from.push_back(data);
    if (to < 0 || to == rank) into.push_back(data);
  }
  ordered_sum(from, into, slice.count, operation.flat.scalar_type());
}

void SharedCollectives::copy(const FlatOperation& operation, int from, int to, Shard part) {
  if (from == to || part.count == 0) return;
  const int64_t width = operation.flat.element_size();
  std::memcpy(operation.data[static_cast<size_t>(to)] + part.begin * width,
              operation.data[static_cast<size_t>(from)] + part.begin * width,
              static_cast<size_t>(part.count * width));
}

}  // namespace temper
