#include "student/train_config.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

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

TEST(TrainConfigTest, AWarmUpOfTheWholeRunIsNoted) {
  TrainConfig config;
  config.warmup = 50;
  config.lr = 0.1;
  const auto note = [&](int64_t steps) {
    config.steps = steps;
    return config.warmup_note();
  };
  EXPECT_EQ(note(51), "");
  for (const int64_t steps : {50, 20}) {
    const std::string words = note(steps);
    EXPECT_NE(words.find("--train.warmup 50 is no shorter than the training, " +
                         std::to_string(steps) + " steps"),
              std::string::npos)
        << words;
    EXPECT_NE(
        words.find(steps == 50 ? "ends at 0.1 where" : "ends at 0.04 where --train.lr is 0.1"),
        std::string::npos)
        << words;
  }
  config.warmup = 0;
  EXPECT_EQ(note(1), "");
  config.warmup = 1;  // the full rate from the first step on
  EXPECT_EQ(note(1), "");
}

TrainConfig scheduled(const std::string& schedule) {
  TrainConfig config;
  config.lr_schedule = schedule;
  config.steps = 101;
  config.warmup = 10;
  config.lr = 2.0;
  config.min_lr_share = 0.1;
  return config;
}

// Runs of earlier versions must come out the same.
TEST(TrainConfigTest, TheCosineKeepsItsBits) {
  const TrainConfig config = scheduled("cosine");
  EXPECT_EQ(TrainConfig().lr_schedule, "cosine");
  for (int64_t step = 10; step < 105; ++step) {
    const double progress = std::min(1.0, static_cast<double>(step - 10) / 90.0);
    const double cosine = 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
    EXPECT_EQ(config.learning_rate(step), 2.0 * (0.1 + (1.0 - 0.1) * cosine)) << step;
  }
}

TEST(TrainConfigTest, EveryScheduleWarmsUpFirst) {
  for (const char* name : {"cosine", "linear", "wsd", "constant", "0:0.5,100%:0.25"}) {
    const TrainConfig config = scheduled(name);
    for (int64_t step = 0; step < 10; ++step) {
      EXPECT_EQ(config.learning_rate(step), 2.0 * static_cast<double>(step + 1) / 10.0)
          << name << " " << step;
    }
  }
}

TEST(TrainConfigTest, FollowsALine) {
  const TrainConfig config = scheduled("linear");
  EXPECT_EQ(config.learning_rate(10), 2.0);
  EXPECT_NEAR(config.learning_rate(28), 2.0 - 1.8 * 0.2, 1e-12);  // 18 of 90 steps
  EXPECT_NEAR(config.learning_rate(100), 0.2, 1e-12);
  EXPECT_NEAR(config.learning_rate(500), 0.2, 1e-12);
}

TEST(TrainConfigTest, StaysAndDecaysAtTheEnd) {
  TrainConfig config = scheduled("wsd");
  for (int64_t step = 10; step <= 80; ++step) EXPECT_EQ(config.learning_rate(step), 2.0) << step;
  EXPECT_NEAR(config.learning_rate(85), 2.0 - 1.8 * 0.25, 1e-12);  // 5 of 20 steps
  EXPECT_NEAR(config.learning_rate(100), 0.2, 1e-12);
  config.decay_share = 1;  // no room for it before the warm-up: a line from there
  for (int64_t step = 10; step <= 100; ++step) {
    EXPECT_NEAR(config.learning_rate(step), scheduled("linear").learning_rate(step), 1e-12) << step;
  }
  config.warmup = 100;  // all of it but one step
  EXPECT_EQ(config.learning_rate(99), 2.0);
  EXPECT_TRUE(std::isfinite(config.learning_rate(100)));
}

TEST(TrainConfigTest, StaysConstant) {
  for (const int64_t step : {10, 50, 100, 500})
    EXPECT_EQ(scheduled("constant").learning_rate(step), 2.0);
}

TEST(TrainConfigTest, FollowsPoints) {
  const TrainConfig config = scheduled("10:1,60%:1,100%:0");
  EXPECT_EQ(config.learning_rate(10), 2.0);
  EXPECT_EQ(config.learning_rate(60), 2.0);
  EXPECT_NEAR(config.learning_rate(70), 1.5, 1e-12);
  EXPECT_EQ(config.learning_rate(100), 0.0);
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
  EXPECT_NE(
      message([](TrainConfig& c) { c.lr_schedule = "cosin"; })
          .find("--train.lr-schedule is 'cosin': 'cosin' is neither a finite number nor "
                "PLACE:VALUE; give cosine, linear, wsd or constant, or factors of train.lr: "),
      std::string::npos);
  EXPECT_NE(message([](TrainConfig& c) {
              c.lr_schedule = "0:1,50%:-0.1";
            }).find("--train.lr-schedule is '0:1,50%:-0.1': -0.1 is no factor"),
            std::string::npos);
  EXPECT_NE(message([](TrainConfig& c) {
              c.lr_schedule = "900:1,50%:0.1";
            }).find("of 1000 steps, point 2 is at step 499.5"),
            std::string::npos);
  EXPECT_NE(
      message([](TrainConfig& c) { c.decay_share = 0; }).find("--train.decay-share is 0: give"),
      std::string::npos);
}

}  // namespace
}  // namespace temper
