// Intervals hold the truth as often as they say.
#include "student/bootstrap.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace temper {
namespace {

/// Sequences of 20 tokens whose true means are: NLL 3, accuracy 0.3, Brier 0.8. Each sequence has
/// an easiness of its own that all of its tokens share.
std::vector<SequenceSums> draw(int count, std::mt19937& random) {
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  std::vector<SequenceSums> sequences(static_cast<size_t>(count));
  for (SequenceSums& each : sequences) {
    each.tokens = 20;
    const double ease = normal(random), chance = 0.6 * uniform(random);
    for (int token = 0; token < 20; ++token) {
      each.nll += 3 - 0.5 * ease + normal(random);
      each.brier += 0.8 + 0.1 * normal(random);
      const bool right = uniform(random) < chance;
      each.correct += right;
      each.gaps[6] += 0.45 - right;  // one bin: an ECE of 0.15
    }
  }
  return sequences;
}

bool holds(const Interval& interval, double value) {
  return interval.low <= value && value <= interval.high;
}

TEST(BootstrapTest, HoldsTheTruthInAbout95Percent) {
  int nll = 0, accuracy = 0, brier = 0, ece = 0;
  constexpr int kTrials = 300;
  for (uint32_t trial = 0; trial < kTrials; ++trial) {
    std::mt19937 random(trial);
    const Intervals found = bootstrap(draw(80, random), trial);
    nll += holds(found.nll, 3.0);
    accuracy += holds(found.accuracy, 0.3);
    brier += holds(found.brier, 0.8);
    ece += holds(found.ece, 0.15);
  }
  // A share of 0.95 in 300 trials has a standard deviation of 0.013.
  for (const int held : {nll, accuracy, brier, ece}) {
    EXPECT_GT(held, 0.90 * kTrials);
    EXPECT_LT(held, 0.99 * kTrials);
  }
}

TEST(BootstrapTest, WidthIsThatOfIndependentSequences) {
  std::mt19937 random(1);
  const Intervals found = bootstrap(draw(2000, random));
  // A sequence's mean NLL has variance 0.25 + 1/20; 2·1.96 standard errors of 2,000. Taken as
  // 40,000 independent tokens they would seem to have 2·1.96·sqrt(1.25 / 40,000), half of it.
  const double width = 2 * 1.96 * std::sqrt((0.25 + 0.05) / 2000);
  EXPECT_NEAR(found.nll.high - found.nll.low, width, 0.1 * width);
  EXPECT_EQ(found.sequences, 2000);
}

TEST(BootstrapTest, IsAFunctionOfItsArguments) {
  std::mt19937 random(2);
  const std::vector<SequenceSums> sequences = draw(30, random);
  EXPECT_EQ(bootstrap(sequences).nll.low, bootstrap(sequences).nll.low);
  EXPECT_NE(bootstrap(sequences).nll.low, bootstrap(sequences, 1).nll.low);
}

TEST(BootstrapTest, OneSequenceTellsNothing) {
  std::mt19937 random(3);
  EXPECT_EQ(bootstrap(draw(1, random)).sequences, 1);
  EXPECT_EQ(bootstrap({}).sequences, 0);
  // Equal sequences leave no doubt.
  const std::vector<SequenceSums> same(5, draw(1, random).front());
  EXPECT_NEAR(bootstrap(same).nll.low, same.front().nll / 20, 1e-12);
  EXPECT_NEAR(bootstrap(same).nll.high, same.front().nll / 20, 1e-12);
}

}  // namespace
}  // namespace temper
