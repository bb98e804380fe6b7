// Collectives on flat tensors in memory that the ranks of one node share: nobody copies to send,
// each rank adds up its slice of all ranks' tensors. Where the group has several nodes, the first
// rank of each (its leader) exchanges the node's sums with the other leaders. It takes pointers, so
// that they may lead into an MPI window or, for a test under the thread sanitizer, into plain
// memory of one process.
#pragma once

#include <ATen/core/Tensor.h>

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "comm/cache_line.h"
#include "comm/flat_collective.h"

namespace temper {

/// How far one rank is, in operations since the start; the same operations on all ranks, in the
/// same order. They only grow. See Note [Operations in shared memory].
struct OperationCounters {
  alignas(kCacheLine) std::atomic<int64_t> started{0};  ///< its tensor is ready
  alignas(kCacheLine) std::atomic<int64_t> added{0};    ///< its part is in the leader's tensor
  alignas(kCacheLine) std::atomic<int64_t> done{0};     ///< it has what it needs from the others
};

/// A rank's place in its node and in the group.
struct NodePlace {
  int rank = 0;                 ///< within the node
  std::vector<int> group_rank;  ///< of each rank of the node, ascending
  int group_size = 1;

  int size() const { return static_cast<int>(group_rank.size()); }
  bool one_node() const { return size() == group_size; }
};

/// What the leaders do among themselves, one operation at a time.
class AcrossNodes {
 public:
  virtual ~AcrossNodes() = default;
  /// Begins with the leader's tensor (n), in place.
  virtual void start(Collective kind, const at::Tensor& flat) = 0;
  /// Moves it along; true once it is complete.
  virtual bool test() = 0;
};

struct FlatOperation {
  int64_t ticket = 0;  ///< the caller's name for it; they grow
  Collective kind = Collective::kAllReduce;
  at::Tensor flat;          ///< (n), this rank's; contiguous
  std::vector<char*> data;  ///< the same tensor of each rank of the node
};

class SharedCollectives {
 public:
  /// `counters`: of each rank of the node. `across` only on the leader (rank 0 of the node) of a
  /// group of several nodes. What they point to outlives the object.
  SharedCollectives(NodePlace place, std::vector<OperationCounters*> counters,
                    std::unique_ptr<AcrossNodes> across);

  /// This rank's tensor is ready; returns at once. From here to the operation's end nobody else may
  /// touch it. Every rank starts the same operations in the same order.
  void start(FlatOperation operation);
  /// Does what can be done now. True if that was anything.
  bool progress();
  /// This rank's result of all operations up to `ticket` is in its tensor, and may be read.
  bool readable(int64_t ticket) const;
  /// No rank needs the tensors of what was started here any more: they may be written again.
  bool idle() const { return operations_.empty(); }

 private:
  using Counter = std::atomic<int64_t> OperationCounters::*;

  OperationCounters& mine() const { return *counters_[static_cast<size_t>(place_.rank)]; }
  bool everyone_beyond(Counter counter, int64_t number) const;
  const FlatOperation& operation(int64_t number) const {
    return operations_[static_cast<size_t>(number - first_)];
  }
  void add(const FlatOperation& operation) const;
  void take(const FlatOperation& operation) const;
  void sum_slice(const FlatOperation& operation, Shard slice, int to) const;
  bool cross();
  static void copy(const FlatOperation& operation, int from, int to, Shard part);

  NodePlace place_;
  std::vector<OperationCounters*> counters_;
  std::unique_ptr<AcrossNodes> across_;
  bool crossing_ = false;                 // across_ has one under way
  std::deque<FlatOperation> operations_;  // those that some rank has not done yet
  int64_t first_ = 0;                     // the number of operations_.front()
  int64_t started_ = 0, added_ = 0, done_ = 0;
};

}  // namespace temper
