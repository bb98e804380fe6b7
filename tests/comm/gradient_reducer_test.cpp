// The sum of gradients: right, the same bits on every rank, and the same bits again.
#include "comm/gradient_reducer.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cstring>

namespace temper {
namespace {

/// Values whose sum depends on the order of addition in its last bits.
at::Tensor gradients_of(int rank, int64_t count) {
  const at::Tensor place = at::arange(count, at::kDouble);                          // (P)
  return ((place * (rank + 1) * 0.7).sin() * at::exp2(place % 13)).to(at::kFloat);  // (P)
}

bool same_bits(const at::Tensor& a, const at::Tensor& b) {
  return a.nbytes() == b.nbytes() &&
         std::memcmp(a.const_data_ptr(), b.const_data_ptr(), a.nbytes()) == 0;
}

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
    const at::Tensor flat = gradients_of(world.rank(), kCount);  // (P)
    GradientReducer(*collectives, flat, 1 << 18).reduce();
    if (run == 0) first = flat;
    EXPECT_TRUE(same_bits(flat, first));
  }
  const at::Tensor of_rank_0 = first.clone();  // (P)
  world.broadcast(of_rank_0, 0);
  EXPECT_TRUE(same_bits(first, of_rank_0));

  at::Tensor exact = at::zeros({kCount}, at::kDouble);  // (P)
  for (int r = 0; r < world.size(); ++r) exact += gradients_of(r, kCount).to(at::kDouble);
  // float32 sums of n terms below 2^12: each addition errs by at most half an ulp of 4 · 2^12,
  // 2^-10
  EXPECT_LE((first.to(at::kDouble) - exact).abs().max().item<double>(), world.size() * 0.001);
}

TEST(GradientReducerTest, RefusesWhatIsNotFlat) {
  const auto collectives = make_mpi_collectives(Communicator::world());
  EXPECT_THROW(GradientReducer(*collectives, at::zeros({2, 2})), c10::Error);  // (2, 2)
  EXPECT_THROW(GradientReducer(*collectives, at::zeros({2}), 0), c10::Error);  // (2)
}

}  // namespace
}  // namespace temper
