// Collectives on flat tensors over MPI, in each kind of memory and on several make-believe nodes:
// right, and with the bits that they promise.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "comm/collectives.h"
#include "comm/mpi/shared_window.h"
#include "tests/comm/summands.h"

namespace temper {
namespace {

struct Layout {
  std::string name;
  bool shared = true;                                     // memory of shared_zeros_like()
  int (*node_of_rank)(int rank) = [](int) { return 0; };  // make-believe, ascending from 0
};

/// With GoogleTest's own printer a Layout would be shown as bytes.
void PrintTo(const Layout& layout, std::ostream* out) { *out << layout.name; }

class FlatCollectivesTest : public testing::TestWithParam<Layout> {
 protected:
  void SetUp() override {
    MpiCollectivesOptions options;
    options.node = &node_;
    collectives_ = make_mpi_collectives(world_, options);
  }

  int nodes() const { return 1 + GetParam().node_of_rank(n_ - 1); }

  at::Tensor zeros(int64_t n, at::ScalarType type) const {
    const at::Tensor like = at::empty({n}, type);  // (n)
    return GetParam().shared ? collectives_->shared_zeros_like(like) : at::zeros_like(like);
  }

  /// The sum of all ranks' summands in the order that the layout has: ranks, or ranks in nodes.
  at::Tensor expected(int64_t n, at::ScalarType type, int64_t round = 0) const {
    std::vector<at::Tensor> of_nodes;
    for (int node = 0; node < (GetParam().shared ? nodes() : 1); ++node) {
      std::vector<at::Tensor> terms;
      for (int rank = 0; rank < n_; ++rank) {
        if (!GetParam().shared || GetParam().node_of_rank(rank) == node)
          terms.push_back(summand(rank, n, type, round));
      }
      of_nodes.push_back(sequential_sum(terms));
    }
    return sequential_sum(of_nodes);
  }

  Communicator world_ = Communicator::world();
  Communicator node_ = world_.split(GetParam().node_of_rank(world_.rank()), world_.rank());
  std::unique_ptr<Collectives> collectives_;
  int n_ = world_.size();
  int r_ = world_.rank();
};

constexpr int64_t kCounts[] = {0, 1, 3, 15, 16, 17, 64, 1000, 100'003};

TEST_P(FlatCollectivesTest, SumsAreRight) {
  // Rank r holds i + 10 r at place i: the sum over n ranks is n i + 10 n (n - 1) / 2.
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    const at::Tensor flat = zeros(20'000, type);  // (20000)
    flat.copy_(at::arange(20'000, type) + 10 * r_);
    collectives_->all_reduce(flat);
    EXPECT_TRUE(flat.equal(at::arange(20'000, type) * n_ + 5 * n_ * (n_ - 1))) << type;
  }
}

TEST_P(FlatCollectivesTest, AllReduceHasTheBitsOfTheSumInOrder) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const int64_t n : kCounts) {
      const at::Tensor flat = zeros(n, type);  // (n)
      flat.copy_(summand(r_, n, type));
      collectives_->all_reduce(flat);
      EXPECT_TRUE(same_bits(flat, expected(n, type))) << type << " " << n;
    }
  }
}

TEST_P(FlatCollectivesTest, ScatterAndGatherHaveTheBitsOfAllReduce) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const int64_t n : kCounts) {
      const at::Tensor flat = zeros(n, type);  // (n)
      flat.copy_(summand(r_, n, type));
      collectives_->reduce_scatter(flat);
      const Shard own = shard_of(n, r_, n_);
      EXPECT_TRUE(same_bits(flat.narrow(0, own.begin, own.count),
                            expected(n, type).narrow(0, own.begin, own.count)))
          << type << " " << n;
      // What is no shard of this rank's must come from the others.
      const at::Tensor kept = flat.narrow(0, own.begin, own.count).clone();  // (shard)
      flat.fill_(-1);
      flat.narrow(0, own.begin, own.count).copy_(kept);
      collectives_->all_gather(flat);
      EXPECT_TRUE(same_bits(flat, expected(n, type))) << type << " " << n;
    }
  }
}

TEST_P(FlatCollectivesTest, GathersAnyType) {
  const at::Tensor flat = zeros(1000, at::kBFloat16);  // (1000)
  const Shard own = shard_of(1000, r_, n_);
  flat.narrow(0, own.begin, own.count).fill_(r_ + 1);
  collectives_->all_gather(flat);
  for (int rank = 0; rank < n_; ++rank) {
    const Shard shard = shard_of(1000, rank, n_);
    EXPECT_TRUE(flat.narrow(0, shard.begin, shard.count)
                    .equal(at::full({shard.count}, rank + 1, at::kBFloat16)));
  }
}

TEST_P(FlatCollectivesTest, NoRaceInManyRounds) {
  constexpr int64_t kCount = 5'001;
  const at::Tensor flat = zeros(kCount, at::kFloat);     // (n)
  const at::Tensor weights = zeros(kCount, at::kFloat);  // (n)
  const Shard own = shard_of(kCount, r_, n_);
  int64_t wrong = 0;
  for (int64_t round = 0; round < 200; ++round) {
    // Small integers again: i mod 100 + r + round sums to n (i mod 100 + round) + n (n - 1) / 2.
    const at::Tensor place = at::arange(kCount, at::kFloat) % 100;                         // (n)
    const at::Tensor sum = (place + round) * n_ + static_cast<double>(n_ * (n_ - 1) / 2);  // (n)
    flat.copy_(place + (r_ + round));
    if (round % 2 == 0) {
      collectives_->all_reduce(flat);
      wrong += flat.equal(sum) ? 0 : 1;
      continue;
    }
    collectives_->reduce_scatter(flat);
    weights.narrow(0, own.begin, own.count).copy_(flat.narrow(0, own.begin, own.count));
    const int64_t ticket = collectives_->start(Collective::kAllGather, weights);
    collectives_->progress();
    collectives_->wait(ticket);
    wrong += weights.equal(sum) ? 0 : 1;
    collectives_->finish();
  }
  EXPECT_EQ(wrong, 0);
}

TEST_P(FlatCollectivesTest, PartsOfATensorAndLargeOnes) {
  // More than one round of messages, and borders on no cache line.
  constexpr int64_t kCount = 9'000'001;
  const at::Tensor flat = zeros(kCount, at::kFloat);  // (n)
  flat.fill_(r_ + 1);
  collectives_->all_reduce(flat.narrow(0, 7, kCount - 12));                     // (n - 12)
  const at::Tensor wanted = at::full({kCount}, n_ * (n_ + 1) / 2, at::kFloat);  // (n)
  wanted.narrow(0, 0, 7).fill_(r_ + 1);
  wanted.narrow(0, kCount - 5, 5).fill_(r_ + 1);
  EXPECT_TRUE(flat.equal(wanted));
}

TEST_P(FlatCollectivesTest, OtherKindsStillWorkOnTheSameMemory) {
  const at::Tensor flat = zeros(100, at::kFloat);  // (100)
  flat.fill_(r_);
  collectives_->all_reduce(flat, Reduce::kMax);
  EXPECT_TRUE(flat.equal(at::full({100}, n_ - 1, at::kFloat)));
  flat.fill_(r_);
  collectives_->broadcast(flat, n_ - 1);
  EXPECT_TRUE(flat.equal(at::full({100}, n_ - 1, at::kFloat)));
  const at::Tensor whole = zeros(100, at::kLong);  // (100)
  whole.fill_(r_ + 1);
  collectives_->all_reduce(whole);
  EXPECT_TRUE(whole.equal(at::full({100}, n_ * (n_ + 1) / 2, at::kLong)));
  EXPECT_THROW(collectives_->start(Collective::kReduceScatter, whole), c10::Error);
  EXPECT_THROW(collectives_->start(Collective::kAllReduce, flat.view({10, 10})), c10::Error);
}

TEST_P(FlatCollectivesTest, MemoryIsUsedAgain) {
  if (!GetParam().shared || n_ == 1 || nodes() == n_) GTEST_SKIP() << "no memory is shared here";
  at::Tensor first = zeros(1000, at::kFloat);         // (1000)
  const at::Tensor second = zeros(1000, at::kFloat);  // (1000)
  const void* place = first.const_data_ptr();
  EXPECT_NE(second.const_data_ptr(), place);
  first.fill_(3);
  const at::Tensor part = first.narrow(0, 10, 5);  // (5)
  first.reset();
  EXPECT_NE(zeros(1000, at::kFloat).const_data_ptr(), place) << "a part is still held";
}

TEST_P(FlatCollectivesTest, WhatIsUsedAgainIsZero) {
  if (!GetParam().shared || n_ == 1 || nodes() == n_) GTEST_SKIP() << "no memory is shared here";
  at::Tensor first = zeros(1000, at::kFloat);  // (1000)
  const void* place = first.const_data_ptr();
  first.fill_(3);
  first.reset();
  const at::Tensor next = zeros(1000, at::kFloat);  // (1000)
  EXPECT_EQ(next.const_data_ptr(), place);
  EXPECT_TRUE(next.equal(at::zeros({1000})));
}

INSTANTIATE_TEST_SUITE_P(Layouts, FlatCollectivesTest,
                         testing::Values(Layout{"Messages", false}, Layout{"OneNode", true},
                                         Layout{"Halves", true, [](int rank) { return rank / 2; }},
                                         Layout{"InTurn", true, [](int rank) { return rank % 2; }},
                                         Layout{"OneAndTheRest", true,
                                                [](int rank) { return rank > 0 ? 1 : 0; }}),
                         [](const auto& test) { return test.param.name; });

TEST(SharedGradientTest, WithoutMemoryItGoesByMessagesAndSaysSo) {
  const Communicator world = Communicator::world();
  MpiCollectivesOptions options;
  options.shared_bytes = world.rank() == 0 ? 1 << 20 : -1;  // one rank's word is enough
  const auto collectives = make_mpi_collectives(world, options);
  const at::Tensor like = at::empty({1000}, at::kFloat);         // (1000)
  const at::Tensor flat = collectives->shared_zeros_like(like);  // (1000)
  EXPECT_TRUE(flat.equal(at::zeros_like(like)));
  if (world.size() == 1) {
    EXPECT_EQ(collectives->note(), "");
  } else {
    EXPECT_NE(collectives->note().find("of shared memory and " + SharedWindow::folder() +
                                       " has 2 MiB: they are summed by messages instead"),
              std::string::npos)
        << collectives->note();
  }
  flat.fill_(world.rank() + 1);
  collectives->all_reduce(flat);
  EXPECT_TRUE(flat.equal(at::full({1000}, world.size() * (world.size() + 1) / 2, at::kFloat)));
}

// A rank with a GPU has no memory for the others, and does not ask for it.
TEST(SharedGradientTest, AGroupThatSharesNoneAsksNobody) {
  const Communicator world = Communicator::world();
  MpiCollectivesOptions options;
  options.shares_memory = false;
  const auto collectives = make_mpi_collectives(world, options);
  const at::Tensor like = at::empty({10'000}, at::kFloat);  // (10,000)
  const at::Tensor flat =
      world.rank() == 0 ? at::zeros_like(like) : collectives->shared_zeros_like(like);
  EXPECT_EQ(collectives->note(), "");
  flat.copy_(summand(world.rank(), 10'000, at::kFloat));
  collectives->start(Collective::kAllReduce, flat);
  collectives->finish();
  std::vector<at::Tensor> terms;
  for (int rank = 0; rank < world.size(); ++rank)
    terms.push_back(summand(rank, 10'000, at::kFloat));
  EXPECT_TRUE(same_bits(flat, sequential_sum(terms)));
}

TEST(SharedGradientTest, OneNodeWithoutMemoryIsEnoughForAll) {
  const Communicator world = Communicator::world();
  if (world.size() < 4) GTEST_SKIP() << "needs two nodes of two ranks";
  const Communicator node = world.split(world.rank() / 2, world.rank());
  MpiCollectivesOptions options;
  options.node = &node;
  options.shared_bytes = world.rank() == 3 ? 0 : -1;
  const auto collectives = make_mpi_collectives(world, options);
  const at::Tensor flat = collectives->shared_zeros_like(at::empty({10'000}, at::kFloat));
  EXPECT_NE(collectives->note(), "");
  flat.copy_(summand(world.rank(), 10'000, at::kFloat));
  collectives->all_reduce(flat);
  std::vector<at::Tensor> terms;
  for (int rank = 0; rank < world.size(); ++rank)
    terms.push_back(summand(rank, 10'000, at::kFloat));
  EXPECT_TRUE(same_bits(flat, sequential_sum(terms)));
}

}  // namespace
}  // namespace temper
