#include "student/train_config.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>

namespace temper {
namespace {

TEST(TrainConfigTest, WarmsUpAndFollowsTheCosine) {
  TrainConfig config;
  config.steps = 101;
  config.warmup = 10;
  config.lr = 2.0;
  config.min_lr_share = 0.1;
  EXPECT_DOUBLE_EQ(config.learning_rate(0), 0.2);
  EXPECT_DOUBLE_EQ(config.learning_rate(9), 2.0);
  EXPECT_DOUBLE_EQ(config.learning_rate(10), 2.0);
  // Half of the 90 steps between 10 and 100: the mean of the two ends.
  EXPECT_NEAR(config.learning_rate(55), 1.1, 1e-12);
  EXPECT_NEAR(config.learning_rate(100), 0.2, 1e-12);
}

TEST(TrainConfigTest, RefusesNamingTheOption) {
  const auto message = [](auto change) -> std::string {
    TrainConfig config;
    change(config);
    try {
      config.validate();
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  };
  EXPECT_EQ(message([](TrainConfig&) {}), "accepted");
  EXPECT_NE(message([](TrainConfig& c) { c.steps = 0; }).find("--train.steps is 0"),
            std::string::npos);
  EXPECT_NE(message([](TrainConfig& c) { c.lr = std::nan(""); }).find("--train.lr is nan"),
            std::string::npos);
  EXPECT_NE(message([](TrainConfig& c) { c.optimizer = "lion"; }).find("'lion'"),
            std::string::npos);
}

}  // namespace
}  // namespace temper
