// Which steps are skipped, by hand.
#include "student/step_guard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace temper {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN(),
                 kInf = std::numeric_limits<double>::infinity();

TEST(StepGuardTest, SkipsWhatIsNoFiniteNumber) {
  StepGuard guard(TrainConfig{});
  EXPECT_EQ(guard.judge(3, 1), "");
  EXPECT_NE(guard.judge(kNan, 1), "");
  EXPECT_NE(guard.judge(kInf, 1), "");
  EXPECT_NE(guard.judge(3, kNan), "");
  EXPECT_NE(guard.judge(3, kInf).find("the gradient's norm inf"), std::string::npos);
  EXPECT_EQ(guard.in_a_row(), 4);
  EXPECT_EQ(guard.judge(1e30, 1e30), "");  // a spike, but nobody asked
  EXPECT_EQ(guard.in_a_row(), 0);
}

TEST(StepGuardTest, IsExhaustedByItsLimitInARow) {
  TrainConfig config;
  config.skip_limit = 3;
  StepGuard guard(config);
  for (const double loss : {kNan, kNan, 1.0, kNan, kNan}) {
    guard.judge(loss, 1);
    EXPECT_FALSE(guard.exhausted());
  }
  guard.judge(kNan, 1);
  EXPECT_TRUE(guard.exhausted());
}

TEST(StepGuardTest, ASpikeIsMeasuredByTheMedianOfTheStepsThatWereTaken) {
  TrainConfig config;
  config.spike_factor = 2;
  config.spike_window = 4;
  StepGuard guard(config);
  for (const double loss : {1.0, 9.0, 2.0}) EXPECT_EQ(guard.judge(loss, 1), "");  // too few
  EXPECT_EQ(guard.spike_limit(), kInf);
  EXPECT_EQ(guard.judge(4, 1), "");
  EXPECT_EQ(guard.spike_limit(), 6);  // 1 2 4 9: the median is 3
  const std::string reason = guard.judge(6.001, 1);
  EXPECT_NE(reason.find("6.001"), std::string::npos) << reason;
  EXPECT_NE(reason.find("--train.spike-factor 2"), std::string::npos) << reason;
  EXPECT_EQ(guard.spike_limit(), 6);   // what was skipped does not count
  EXPECT_EQ(guard.judge(6, 1), "");    // not above it
  EXPECT_EQ(guard.spike_limit(), 10);  // 2 4 6 9: 5
}

TEST(StepGuardTest, LossesBelowZeroHaveNoSpikes) {
  TrainConfig config;
  config.spike_factor = 2;
  config.spike_window = 1;
  StepGuard guard(config);
  EXPECT_EQ(guard.judge(-1, 1), "");
  EXPECT_EQ(guard.judge(5, 1), "");
  EXPECT_NE(guard.judge(11, 1), "");
}

TEST(StepGuardTest, GoesOnFromItsState) {
  TrainConfig config;
  config.spike_factor = 3;
  config.spike_window = 3;
  StepGuard guard(config), other(config);
  for (const double loss : {1.0, 2.0, 3.0, 4.0, kNan}) guard.judge(loss, 1);
  other.restore(guard.state());
  EXPECT_EQ(other.in_a_row(), 1);
  EXPECT_EQ(other.spike_limit(), 9);
}

TEST(StepGuardTest, LossesThatRoseForGoodAreTakenOnceTheOldOnesAreForgotten) {
  TrainConfig config;
  config.spike_factor = 2;
  config.spike_window = 3;
  config.skip_limit = 2;
  StepGuard guard(config);
  for (const double loss : {1.0, 1.0, 1.0}) EXPECT_EQ(guard.judge(loss, 1), "");
  for (const double loss : {5.0, 5.0}) EXPECT_NE(guard.judge(loss, 1), "");
  ASSERT_TRUE(guard.exhausted());
  StepGuard next(config);
  next.restore(guard.state());
  EXPECT_NE(next.judge(5, 1), "");
  next.forget_losses();
  EXPECT_EQ(next.in_a_row(), 3);  // it is no step that was taken
  for (const double loss : {5.0, 5.0, 5.0}) EXPECT_EQ(next.judge(loss, 1), "");
  EXPECT_EQ(next.in_a_row(), 0);
  EXPECT_EQ(next.spike_limit(), 10);
}

}  // namespace
}  // namespace temper
