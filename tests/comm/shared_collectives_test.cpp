// The collectives in shared memory, with the ranks as threads of one process over plain memory: so
// the thread sanitizer sees all of them. Tensors are written, added and compared in code that it
// watches.
#include "comm/shared_collectives.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <mutex>
#include <thread>

namespace temper {
namespace {

constexpr int64_t kCount = 1000;  // no whole number of shards

/// Small integers, so that every order of addition is exact.
float term(int rank, int64_t round, int64_t at) {
  return static_cast<float>((rank + 1) * (at % 50) + round % 7);
}

/// Σ over ranks r < R of term(r, ...) = (at mod 50) R (R + 1) / 2 + R (round mod 7).
float total(int ranks, int64_t round, int64_t at) {
  return static_cast<float>((at % 50) * ranks * (ranks + 1) / 2 + ranks * (round % 7));
}

/// Where the leaders of several nodes meet: each lays down its tensor and adds up, or picks from,
/// all of them once they are there.
class MeetingPlace {
 public:
  explicit MeetingPlace(std::vector<int> node_of_rank, int nodes)
      : node_of_rank_(std::move(node_of_rank)), nodes_(static_cast<size_t>(nodes)) {}

  void lay_down(size_t meeting, std::vector<float> values, size_t node) {
    const std::lock_guard lock(mutex_);
    if (meetings_.size() <= meeting) meetings_.resize(meeting + 1);
    std::vector<std::vector<float>>& laid = meetings_[meeting];
    laid.resize(nodes_);
    laid[node] = std::move(values);
  }

  bool pick_up(size_t meeting, Collective kind, float* out, size_t node) {
    const std::lock_guard lock(mutex_);
    const std::vector<std::vector<float>>& laid = meetings_[meeting];
    for (const std::vector<float>& each : laid) {
      if (each.empty()) return false;
    }
    const auto count = static_cast<int64_t>(laid[0].size());
    const int ranks = static_cast<int>(node_of_rank_.size());
    for (int rank = 0; rank < ranks; ++rank) {
      const auto owner = static_cast<size_t>(node_of_rank_[static_cast<size_t>(rank)]);
      const Shard shard = shard_of(count, rank, ranks);
      for (int64_t i = shard.begin; i < shard.begin + shard.count; ++i) {
        const auto at = static_cast<size_t>(i);
        if (kind == Collective::kAllGather) {
          out[i] = laid[owner][at];
        } else if (kind == Collective::kAllReduce || owner == node) {
          out[i] = 0;
          for (const std::vector<float>& each : laid) out[i] += each[at];
        }
      }
    }
    return true;
  }

 private:
  std::mutex mutex_;
  std::vector<int> node_of_rank_;
  size_t nodes_;
  std::vector<std::vector<std::vector<float>>> meetings_;
};

class Meeting : public AcrossNodes {
 public:
  Meeting(MeetingPlace& place, size_t node) : place_(place), node_(node) {}

  void start(Collective kind, const at::Tensor& flat) override {
    kind_ = kind;
    data_ = flat.mutable_data_ptr<float>();
    place_.lay_down(count_, std::vector<float>(data_, data_ + flat.numel()), node_);
  }
  bool test() override {
    if (!place_.pick_up(count_, kind_, data_, node_)) return false;
    ++count_;
    return true;
  }

 private:
  MeetingPlace& place_;
  size_t node_;
  size_t count_ = 0;
  Collective kind_ = Collective::kAllReduce;
  float* data_ = nullptr;
};

/// A group of threads: rank r belongs to node node_of_rank[r].
struct Group {
  explicit Group(std::vector<int> nodes)
      : node_of_rank(std::move(nodes)),
        counters(node_of_rank.size()),
        buffers(node_of_rank.size()),
        place(node_of_rank, 1 + node_of_rank.back()) {
    for (std::vector<float>& buffer : buffers) buffer.resize(kCount);
  }

  std::vector<int> ranks_of(int node) const {
    std::vector<int> ranks;
    for (size_t rank = 0; rank < node_of_rank.size(); ++rank) {
      if (node_of_rank[rank] == node) ranks.push_back(static_cast<int>(rank));
    }
    return ranks;
  }

  SharedCollectives join(int rank) {
    const int node = node_of_rank[static_cast<size_t>(rank)];
    NodePlace own{.rank = 0,
                  .group_rank = ranks_of(node),
                  .group_size = static_cast<int>(node_of_rank.size())};
    std::vector<OperationCounters*> seen;
    for (const int each : own.group_rank) {
      if (each < rank) ++own.rank;
      seen.push_back(&counters[static_cast<size_t>(each)]);
    }
    std::unique_ptr<AcrossNodes> across;
    if (own.rank == 0 && !own.one_node())
      across = std::make_unique<Meeting>(place, static_cast<size_t>(node));
    return SharedCollectives(std::move(own), std::move(seen), std::move(across));
  }

  FlatOperation operation(int rank, int64_t ticket, Collective kind, int64_t begin, int64_t count) {
    FlatOperation result{.ticket = ticket, .kind = kind, .flat = {}, .data = {}};
    result.flat = at::from_blob(buffers[static_cast<size_t>(rank)].data() + begin, {count},
                                at::kFloat);  // (count)
    for (const int each : ranks_of(node_of_rank[static_cast<size_t>(rank)])) {
      result.data.push_back(
          reinterpret_cast<char*>(buffers[static_cast<size_t>(each)].data() + begin));
    }
    return result;
  }

  std::vector<int> node_of_rank;
  std::vector<OperationCounters> counters;
  std::vector<std::vector<float>> buffers;
  MeetingPlace place;
};

/// Runs `rank_main` on a thread for each rank and returns how many values were wrong.
int64_t run_ranks(int ranks, const std::function<int64_t(int)>& rank_main) {
  std::atomic<int64_t> wrong{0};
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks; ++rank)
    threads.emplace_back([&, rank] { wrong += rank_main(rank); });
  for (std::thread& thread : threads) thread.join();
  return wrong;
}

template <typename Done>
void until(SharedCollectives& collectives, const Done& done) {
  while (!done()) {
    if (!collectives.progress()) sched_yield();
  }
}

class SharedCollectivesTest : public testing::TestWithParam<std::vector<int>> {};

TEST_P(SharedCollectivesTest, SumsAgainAndAgain) {
  const int ranks = static_cast<int>(GetParam().size());
  Group group(GetParam());
  EXPECT_EQ(run_ranks(ranks,
                      [&](int rank) {
                        SharedCollectives collectives = group.join(rank);
                        float* own = group.buffers[static_cast<size_t>(rank)].data();
                        int64_t wrong = 0;
                        for (int64_t round = 0; round < 200; ++round) {
                          for (int64_t i = 0; i < kCount; ++i) own[i] = term(rank, round, i);
                          collectives.start(
                              group.operation(rank, round + 1, Collective::kAllReduce, 0, kCount));
                          until(collectives, [&] { return collectives.readable(round + 1); });
                          for (int64_t i = 0; i < kCount; ++i)
                            wrong += own[i] != total(ranks, round, i);
                          until(collectives, [&] { return collectives.idle(); });
                        }
                        return wrong;
                      }),
            0);
}

TEST_P(SharedCollectivesTest, ScattersUpdatesAndGathers) {
  const int ranks = static_cast<int>(GetParam().size());
  Group group(GetParam());
  EXPECT_EQ(run_ranks(ranks,
                      [&](int rank) {
                        SharedCollectives collectives = group.join(rank);
                        float* own = group.buffers[static_cast<size_t>(rank)].data();
                        const Shard shard = shard_of(kCount, rank, ranks);
                        int64_t wrong = 0;
                        for (int64_t round = 0; round < 200; ++round) {
                          const int64_t ticket = 2 * round;
                          for (int64_t i = 0; i < kCount; ++i) own[i] = term(rank, round, i);
                          collectives.start(
                              group.operation(rank, ticket, Collective::kReduceScatter, 0, kCount));
                          until(collectives, [&] { return collectives.readable(ticket); });
                          for (int64_t i = shard.begin; i < shard.begin + shard.count; ++i)
                            wrong += own[i] != total(ranks, round, i);
                          until(collectives, [&] { return collectives.idle(); });
                          for (int64_t i = shard.begin; i < shard.begin + shard.count; ++i)
                            own[i] += 1;
                          collectives.start(
                              group.operation(rank, ticket + 1, Collective::kAllGather, 0, kCount));
                          until(collectives, [&] { return collectives.readable(ticket + 1); });
                          for (int64_t i = 0; i < kCount; ++i)
                            wrong += own[i] != total(ranks, round, i) + 1;
                          until(collectives, [&] { return collectives.idle(); });
                        }
                        return wrong;
                      }),
            0);
}

TEST_P(SharedCollectivesTest, BucketsLeaveWhileTheRestIsWritten) {
  constexpr int64_t kBucket = 300;
  const int ranks = static_cast<int>(GetParam().size());
  Group group(GetParam());
  EXPECT_EQ(run_ranks(ranks,
                      [&](int rank) {
                        SharedCollectives collectives = group.join(rank);
                        float* own = group.buffers[static_cast<size_t>(rank)].data();
                        int64_t wrong = 0, ticket = 0;
                        for (int64_t round = 0; round < 100; ++round) {
                          for (int64_t begin = 0; begin < kCount; begin += kBucket) {
                            const int64_t count = std::min(kBucket, kCount - begin);
                            for (int64_t i = begin; i < begin + count; ++i)
                              own[i] = term(rank, round, i);
                            collectives.start(group.operation(
                                rank, ++ticket, Collective::kAllReduce, begin, count));
                            if ((round + rank) % 3 != 0)
                              collectives.progress();  // some look rarely
                          }
                          until(collectives, [&] { return collectives.readable(ticket - 3); });
                          for (int64_t i = 0; i < kBucket; ++i)
                            wrong += own[i] != total(ranks, round, i);
                          until(collectives, [&] { return collectives.idle(); });
                          for (int64_t i = 0; i < kCount; ++i)
                            wrong += own[i] != total(ranks, round, i);
                        }
                        return wrong;
                      }),
            0);
}

INSTANTIATE_TEST_SUITE_P(Nodes, SharedCollectivesTest,
                         testing::Values(std::vector<int>{0}, std::vector<int>{0, 0},
                                         std::vector<int>{0, 0, 0, 0}, std::vector<int>{0, 1},
                                         std::vector<int>{0, 0, 1, 1}, std::vector<int>{0, 1, 0, 1},
                                         std::vector<int>{0, 1, 1}),
                         [](const auto& test) {
                           std::string name = "Nodes";
                           for (const int node : test.param) name += std::to_string(node);
                           return name;
                         });

TEST(SharedCollectivesStepTest, NobodyReadsATensorBeforeItIsReady) {
  Group group({0, 0});
  SharedCollectives first = group.join(0), second = group.join(1);
  for (int rank = 0; rank < 2; ++rank)
    for (float& value : group.buffers[static_cast<size_t>(rank)]) value = 1;
  first.start(group.operation(0, 1, Collective::kAllReduce, 0, kCount));
  EXPECT_FALSE(first.progress());
  EXPECT_FALSE(first.readable(1));
  EXPECT_TRUE(first.readable(0));
  second.start(group.operation(1, 1, Collective::kAllReduce, 0, kCount));
  EXPECT_TRUE(first.progress());  // its slice
  EXPECT_FALSE(first.readable(1)) << "the other slice is still to come";
  EXPECT_EQ(group.buffers[1][0], 2) << "the sum goes into both tensors";
  EXPECT_TRUE(second.progress());
  EXPECT_TRUE(second.idle());
  EXPECT_TRUE(first.readable(1));
  EXPECT_FALSE(first.idle());  // has not looked yet
  EXPECT_TRUE(first.progress());
  EXPECT_TRUE(first.idle());
}

TEST(SharedCollectivesStepTest, AGatheredTensorIsReadableBeforeItMayBeWritten) {
  Group group({0, 0});
  SharedCollectives first = group.join(0), second = group.join(1);
  first.start(group.operation(0, 1, Collective::kAllGather, 0, kCount));
  second.start(group.operation(1, 1, Collective::kAllGather, 0, kCount));
  first.progress();
  EXPECT_TRUE(first.readable(1));
  EXPECT_FALSE(first.idle()) << "the other has not read its shard yet";
  second.progress();
  first.progress();
  EXPECT_TRUE(first.idle());
}

}  // namespace
}  // namespace temper
