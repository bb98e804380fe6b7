// Bootstrap intervals: right about as often as they say, and the same from the same seed.
#include "student/bootstrap.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

namespace temper {
namespace {

/// Sequences of 10 tokens whose mean NLL is normal around 2, as correlated within as can be.
at::Tensor sample(int64_t sequences) {
  at::Tensor sums = at::zeros({sequences, kSequenceSums}, at::kDouble);
  sums.select(1, 0).copy_((at::randn({sequences}, at::kDouble) * 0.5 + 2) * 10);
  sums.select(1, 1).fill_(5);   // Brier 0.5
  sums.select(1, 2).fill_(4);   // accuracy 0.4
  sums.select(1, 3).fill_(10);  // tokens
  sums.select(1, 4).fill_(10);  // all in the first bin
  sums.select(1, 4 + kCalibrationBins).fill_(3);
  sums.select(1, 4 + 2 * kCalibrationBins).fill_(4);
  return sums;
}

TEST(BootstrapTest, CoversTheTruthAsOftenAsItSays) {
  at::manual_seed(3);
  int covered = 0;
  constexpr int kTrials = 300;
  for (int trial = 0; trial < kTrials; ++trial) {
    const MetricIntervals intervals = bootstrap(sample(60), 400, static_cast<uint64_t>(trial));
    covered += intervals.nll.low <= 2 && 2 <= intervals.nll.high ? 1 : 0;
  }
  EXPECT_GT(covered, 0.90 * kTrials);
  EXPECT_LT(covered, 0.99 * kTrials);
}

TEST(BootstrapTest, WhatDoesNotVaryHasNoWidth) {
  at::manual_seed(4);
  const MetricIntervals intervals = bootstrap(sample(20), 100, 1);
  for (const auto& [interval, value] :
       {std::pair{intervals.brier, 0.5}, {intervals.accuracy, 0.4}, {intervals.ece, 0.1}}) {
    EXPECT_NEAR(interval.low, value, 1e-12);
    EXPECT_NEAR(interval.high, value, 1e-12);
  }
  EXPECT_EQ(intervals.sequences, 20);
}

TEST(BootstrapTest, TheSeedDecides) {
  at::manual_seed(5);
  const at::Tensor sums = sample(30);
  EXPECT_EQ(bootstrap(sums, 100, 1).nll.low, bootstrap(sums, 100, 1).nll.low);
  EXPECT_NE(bootstrap(sums, 100, 1).nll.low, bootstrap(sums, 100, 2).nll.low);
  EXPECT_THROW(bootstrap(sums.narrow(0, 0, 1), 100, 1), c10::ValueError);
}

}  // namespace
}  // namespace temper
