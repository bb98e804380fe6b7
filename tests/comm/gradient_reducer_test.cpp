// The sum of gradients: right, the same bits on every rank, and the same bits again.
#include "comm/gradient_reducer.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "tests/comm/summands.h"

namespace temper {
namespace {

TEST(GradientReducerTest, SumsOverRanks) {
  const Communicator world = Communicator::world();
  const auto collectives = make_mpi_collectives(world);
  // Buckets: below one element, a few elements, not a divisor of P, more than P.
  for (const int64_t bucket_bytes : {1, 40, 28, 1 << 20}) {
    const at::Tensor flat = at::arange(103, at::kFloat) * (world.rank() + 1);  // (103)
    GradientReducer(*collectives, flat, bucket_bytes).reduce();
    // sum over r of (r + 1) i = i n (n + 1) / 2; for 4 ranks 10 i
    const int n = world.size();
    EXPECT_TRUE(flat.equal(at::arange(103, at::kFloat) * (n * (n + 1) / 2))) << bucket_bytes;
  }
}

TEST(GradientReducerTest, GivesTheSameBitsOnEachRankAndAgain) {
  const Communicator world = Communicator::world();
  const auto collectives = make_mpi_collectives(world);
  constexpr int64_t kCount = 300'000;
  at::Tensor first;
  for (int run = 0; run < 3; ++run) {
    const at::Tensor flat = summand(world.rank(), kCount, at::kFloat);  // (P)
    GradientReducer(*collectives, flat, 1 << 18).reduce();
    if (run == 0) first = flat;
    EXPECT_TRUE(same_bits(flat, first));
  }
  const at::Tensor of_rank_0 = first.clone();  // (P)
  world.broadcast(of_rank_0, 0);
  EXPECT_TRUE(same_bits(first, of_rank_0));

  at::Tensor exact = at::zeros({kCount}, at::kDouble);  // (P)
  for (int r = 0; r < world.size(); ++r) exact += summand(r, kCount, at::kFloat).to(at::kDouble);
  // float32 sums of n terms below 2^12: each addition errs by at most half an ulp of 4 · 2^12,
  // 2^-10
  EXPECT_LE((first.to(at::kDouble) - exact).abs().max().item<double>(), world.size() * 0.001);
}

TEST(GradientReducerTest, BucketsThatLeaveEarlyHaveTheSameBits) {
  const Communicator world = Communicator::world();
  const auto collectives = make_mpi_collectives(world);
  constexpr int64_t kCount = 50'003;
  std::vector<at::Tensor> terms;
  for (int r = 0; r < world.size(); ++r) terms.push_back(summand(r, kCount, at::kFloat));
  const at::Tensor expected = sequential_sum(terms);  // (P)
  for (const bool shared : {false, true}) {
    const at::Tensor like = at::empty({kCount}, at::kFloat);  // (P)
    const at::Tensor flat =
        shared ? collectives->shared_zeros_like(like) : at::zeros_like(like);  // (P)
    GradientReducer reducer(*collectives, flat, 1 << 14);
    for (int round = 0; round < 20; ++round) {
      // Backward: from the end, in steps that differ from rank to rank.
      const at::Tensor& mine = terms[static_cast<size_t>(world.rank())];  // (P)
      const int64_t step = 999 + 1711 * world.rank();
      for (int64_t end = kCount; end > 0; end -= step) {
        const int64_t begin = std::max<int64_t>(0, end - step);
        flat.narrow(0, begin, end - begin).copy_(mine.narrow(0, begin, end - begin));
        if (begin > 0 || round % 2 == 0) reducer.ready_from(begin);
      }
      reducer.finish();
      EXPECT_TRUE(same_bits(flat, expected)) << shared << " " << round;
      flat.copy_(mine);
      reducer.reduce();
      EXPECT_TRUE(same_bits(flat, expected)) << shared << " " << round;
    }
  }
}

TEST(GradientReducerTest, ScattersTheBucketsOfAShardedOptimizer) {
  const Communicator world = Communicator::world();
  const auto collectives = make_mpi_collectives(world);
  constexpr int64_t kCount = 50'003;
  std::vector<at::Tensor> terms;
  for (int r = 0; r < world.size(); ++r) terms.push_back(summand(r, kCount, at::kFloat));
  const at::Tensor expected = sequential_sum(terms);                 // (P)
  const at::Tensor flat = collectives->shared_zeros_like(expected);  // (P)
  GradientReducer reducer(*collectives, flat, 1 << 14, Collective::kReduceScatter);
  flat.copy_(terms[static_cast<size_t>(world.rank())]);
  reducer.reduce();
  int64_t covered = 0;
  for (const Shard& bucket : reducer.buckets()) {
    const Shard own = shard_of(bucket.count, world.rank(), world.size());
    const int64_t begin = bucket.begin + own.begin;
    EXPECT_TRUE(same_bits(flat.narrow(0, begin, own.count), expected.narrow(0, begin, own.count)));
    covered += own.count;
  }
  EXPECT_EQ(world.all_reduce(covered), kCount);
}

TEST(GradientReducerTest, RefusesWhatIsNotFlat) {
  const auto collectives = make_mpi_collectives(Communicator::world());
  EXPECT_THROW(GradientReducer(*collectives, at::zeros({2, 2})), c10::Error);  // (2, 2)
  EXPECT_THROW(GradientReducer(*collectives, at::zeros({2}), 0), c10::Error);  // (2)
}

}  // namespace
}  // namespace temper
