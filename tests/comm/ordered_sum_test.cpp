// The one-pass sum: right, and in the order that it promises.
#include "comm/ordered_sum.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "comm/flat_collective.h"
#include "tests/comm/summands.h"

namespace temper {
namespace {

TEST(OrderedSumTest, HasTheBitsOfOneTermAfterAnother) {
  for (const at::ScalarType type : {at::kFloat, at::kDouble}) {
    for (const int terms : {1, 2, 3, 5}) {
      for (const int64_t n : {0, 1, 7, 1023, 1024, 5000}) {
        std::vector<at::Tensor> buffers;
        for (int term = 0; term < terms; ++term) buffers.push_back(summand(term, n, type));
        const at::Tensor expected = sequential_sum(buffers);  // (n)
        // Into every buffer, and into one that is no term.
        const at::Tensor other = at::empty({n}, type);  // (n)
        std::vector<const void*> from;
        std::vector<void*> to{other.data_ptr()};
        for (const at::Tensor& buffer : buffers) from.push_back(buffer.const_data_ptr());
        ordered_sum(from, to, n, type);
        EXPECT_TRUE(same_bits(other, expected)) << type << " " << terms << " " << n;
        to.clear();
        for (const at::Tensor& buffer : buffers) to.push_back(buffer.data_ptr());
        ordered_sum(from, to, n, type);
        for (const at::Tensor& buffer : buffers)
          EXPECT_TRUE(same_bits(buffer, expected)) << type << " " << terms << " " << n;
      }
    }
  }
}

TEST(OrderedSumTest, TheOrderShows) {
  // 2^24 + 1 is 2^24 in float32 (ties to even), and so is 2^24 + 1 + 1 from the left; 1 + 1 first
  // gives 2^24 + 2.
  const at::Tensor large = at::full({3}, 16777216.0, at::kFloat), one = at::ones({3});  // (3)
  const at::Tensor sum = at::empty({3});                                                // (3)
  const auto add = [&](const at::Tensor& a, const at::Tensor& b, const at::Tensor& c) {
    ordered_sum({a.const_data_ptr(), b.const_data_ptr(), c.const_data_ptr()}, {sum.data_ptr()}, 3,
                at::kFloat);
    return sum[1].item<double>();
  };
  EXPECT_EQ(add(large, one, one), 16777216.0);
  EXPECT_EQ(add(one, one, large), 16777218.0);
}

TEST(OrderedSumTest, RefusesOtherTypes) {
  const at::Tensor integers = at::ones({3}, at::kLong);  // (3)
  EXPECT_THROW(ordered_sum({integers.const_data_ptr()}, {integers.data_ptr()}, 3, at::kLong),
               c10::Error);
}

TEST(ShardTest, ShardsCoverEachElementOnceAndBeginOnCacheLines) {
  for (const int64_t n : {0, 1, 15, 16, 17, 63, 64, 65, 100, 1000, 4096}) {
    for (const int size : {1, 2, 3, 4, 7}) {
      int64_t end = 0;
      for (int rank = 0; rank < size; ++rank) {
        const Shard shard = shard_of(n, rank, size);
        EXPECT_EQ(shard.begin, end) << n << " " << size;
        EXPECT_TRUE(shard.begin % kShardUnit == 0 || shard.count == 0) << n << " " << size;
        if (n % (kShardUnit * size) == 0) {
          EXPECT_EQ(shard.count, n / size);
        }
        end += shard.count;
      }
      EXPECT_EQ(end, n) << size;
    }
  }
}

}  // namespace
}  // namespace temper
