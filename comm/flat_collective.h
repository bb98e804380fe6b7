// What the ranks of a group do with a flat tensor, and whose shard of it is where.
#pragma once

#include <algorithm>
#include <cstdint>

namespace temper {

/// In place on a tensor (n) of every rank.
enum class Collective {
  kAllReduce,      ///< the sum over the ranks, everywhere
  kReduceScatter,  ///< the sum, each rank its own shard; what else is in the tensor is lost
  kAllGather,      ///< every rank's own shard, everywhere
};

/// Elements [begin, begin + count) of a flat tensor.
struct Shard {
  int64_t begin = 0;
  int64_t count = 0;
};

/// Shards begin at multiples of this many elements: 64 bytes of float32, a cache line.
constexpr int64_t kShardUnit = 16;

/// The shard of `rank` among `size` ranks: all are equally long where n is a multiple of size ·
/// kShardUnit; else the last ones are shorter, or empty.
inline Shard shard_of(int64_t n, int rank, int size) {
  const int64_t unit = kShardUnit * size;
  const int64_t length = (n + unit - 1) / unit * kShardUnit;
  const int64_t begin = std::min(n, rank * length);
  return {begin, std::min(n - begin, length)};
}

}  // namespace temper
