// Schedules against values worked out by hand, and what is refused.
#include "comm/schedule.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>

#include "comm/soft_target_channel.h"

namespace temper {
namespace {

Schedule parsed(const std::string& text) { return Schedule::parse(text, "loss.alpha"); }

std::vector<double> values(const std::string& text, int64_t steps) {
  std::vector<double> all;
  for (int64_t step = 0; step < steps; ++step) all.push_back(parsed(text).value(step, steps));
  return all;
}

TEST(ScheduleTest, ANumberIsConstantToTheLastBit) {
  for (const char* text : {"0.9", "2", "1e-3", " 0.30000000000000004 ", "+4", "-0.5"}) {
    const Schedule schedule = parsed(text);
    for (const int64_t step : {0, 1, 999, 5000})
      EXPECT_EQ(schedule.value(step, 1000), std::stod(text)) << text;
    EXPECT_FALSE(schedule.changes());
    EXPECT_EQ(schedule.text(), text);
  }
  EXPECT_EQ(Schedule(0.9).text(), "0.9");
  EXPECT_EQ(Schedule(0.1 + 0.2).text(), "0.30000000000000004");
  EXPECT_EQ(Schedule(2).value(7, 10), 2);
}

TEST(ScheduleTest, LinearBetweenPoints) {
  EXPECT_EQ(values("0:0,4:1", 7), (std::vector<double>{0, 0.25, 0.5, 0.75, 1, 1, 1}));
  EXPECT_EQ(values("linear 2:3,4:1", 6), (std::vector<double>{3, 3, 3, 2, 1, 1}));
  // A stretch that is level has its very number.
  EXPECT_EQ(values("0:0.9,3:0.9,4:0", 5), (std::vector<double>{0.9, 0.9, 0.9, 0.9, 0}));
}

TEST(ScheduleTest, CosineBetweenPoints) {
  // (1 - cos(π/4))/2 = (2 - √2)/4 of the way after a quarter of it.
  const double quarter = (2 - std::sqrt(2.0)) / 4;
  const std::vector<double> wanted = {1, 1 + 2 * quarter, 2, 3 - 2 * quarter, 3, 3};
  const std::vector<double> found = values("cosine 0:1,4:3", 6);
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_NEAR(found[i], wanted[i], 1e-15) << i;
  EXPECT_EQ(found[0], 1);
  EXPECT_EQ(found[4], 3);
}

TEST(ScheduleTest, StepHoldsUntilTheNextPoint) {
  EXPECT_EQ(values("step 0:4,2:2,5:1", 7), (std::vector<double>{4, 4, 2, 2, 2, 1, 1}));
  // 50% of 4 steps lies between steps 1 and 2.
  EXPECT_EQ(values("step 0%:4,50%:2", 4), (std::vector<double>{4, 4, 2, 2}));
}

TEST(ScheduleTest, PercentagesGoFromTheFirstStepToTheLast) {
  EXPECT_EQ(values("0%:1,100%:0", 5), (std::vector<double>{1, 0.75, 0.5, 0.25, 0}));
  EXPECT_EQ(values("0:1,50%:1,100%:0", 5), (std::vector<double>{1, 1, 1, 0.5, 0}));
  EXPECT_EQ(values("0%:1,12.5%:2", 9), (std::vector<double>{1, 2, 2, 2, 2, 2, 2, 2, 2}));
  for (int place = 1; place <= 100; ++place) {
    const std::string text = "step 0:1," + std::to_string(place) + "%:2";
    EXPECT_EQ(parsed(text).value(place, 101), 2) << text;
    EXPECT_EQ(parsed(text).value(place - 1, 101), 1) << text;
  }
  EXPECT_EQ(values("0%:1,100%:0", 1), (std::vector<double>{0}));
}

TEST(ScheduleTest, EqualPlacesAreAJump) {
  EXPECT_EQ(values("0:1,2:1,2:5,4:7", 6), (std::vector<double>{1, 1, 5, 6, 7, 7}));
}

TEST(ScheduleTest, SpacesAreFree) {
  EXPECT_EQ(values(" cosine  0 : 1 , 2 : 3 ", 3), values("cosine 0:1,2:3", 3));
  EXPECT_EQ(values("0:1, 50 %:2, 100%:3", 3), (std::vector<double>{1, 2, 3}));
}

TEST(ScheduleTest, SaysHowFarItGoes) {
  const Schedule schedule = parsed("0:2,10:4,90%:0.5");
  EXPECT_EQ(schedule.lowest(), 0.5);
  EXPECT_EQ(schedule.highest(), 4);
  EXPECT_TRUE(schedule.changes());
  EXPECT_FALSE(parsed("step 0:2,50%:2").changes());
}

template <class Action>
std::string refusal(const Action& action) {
  try {
    action();
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "accepted";
}

TEST(ScheduleTest, RefusesNamingOptionTextReasonAndRemedy) {
  for (const auto& [text, reason] : std::vector<std::pair<std::string, std::string>>{
           {"warm", "'warm' is neither a finite number nor PLACE:VALUE"},
           {"", "'' is neither"},
           {"nan", "'nan' is neither"},
           {"inf", "'inf' is neither"},
           {"1.2.3", "'1.2.3' is neither"},
           {"0x10", "'0x10' is neither"},
           {"0:1,5", "'5' is neither"},
           {"0:1,", "'' is neither"},
           {"0:1,,5:2", "'' is neither"},
           {"0:", "the value of '0:' is no finite number"},
           {"0:1:2", "the value of '0:1:2' is no finite number"},
           {"0:inf", "the value of '0:inf' is no finite number"},
           {":1", "the place of ':1' is neither a step"},
           {"-1:1", "the place of '-1:1'"},
           {"1.5:1", "the place of '1.5:1'"},
           {"101%:1", "the place of '101%:1'"},
           {"-1%:1", "the place of '-1%:1'"},
           {"%:1", "the place of '%:1'"},
           {"nan%:1", "the place of 'nan%:1'"},
           {"cosine", "'cosine' is neither"},
           {"cosine 0.5", "'0.5' is neither"},
           {"spline 0:1,5:2", "the place of 'spline 0:1'"},
           {"5:1,3:2", "'3:2' comes after a later place"},
           {"50%:1,9:1,40%:2", "'40%:2' comes after a later place"}}) {
    const std::string message = refusal([&, &bad = text] { parsed(bad); });
    EXPECT_EQ(message.find("--loss.alpha is '" + text + "': " + reason), 0u) << message;
    EXPECT_NE(message.find(std::string("; give ") + kScheduleForms), std::string::npos) << message;
  }
  EXPECT_NE(refusal([] { Schedule::parse("x", "a.b", "x1, x2 or "); }).find("; give x1, x2 or a"),
            std::string::npos);
}

TEST(ScheduleTest, RefusesPlacesThatDoNotAscendInTheRun) {
  const Schedule schedule = parsed("100:1,50%:0.5");
  EXPECT_EQ(refusal([&] { schedule.check_places(201, "loss.alpha"); }), "accepted");
  const std::string message = refusal([&] { schedule.check_places(101, "loss.alpha"); });
  EXPECT_EQ(message.find("--loss.alpha is '100:1,50%:0.5': of 101 steps, point 2 is at step 50 and "
                         "the one in front of it at 100; give places that ascend"),
            0u)
      << message;
}

// Both sides make the header alike, so both must take the step's own temperature.
TEST(ScheduleTest, AMessageHasTheTemperatureOfItsStep) {
  ChannelConfig channel{.max_rows = 1, .seq = 2, .payload = {.vocab = 5}};
  channel.temperature = {parsed("0:4,100%:1"), 4};
  const at::Tensor tokens = at::tensor({1, 2}, at::kLong).view({1, 2});  // (B, S)
  for (const auto& [step, temperature] : {std::pair<int64_t, double>{0, 4}, {1, 3}, {3, 1}}) {
    const MicroBatchId id{.step = step, .first_row = 0, .rows = 1};
    EXPECT_EQ(make_header(channel, id, tokens).temperature, temperature);
  }
}

}  // namespace
}  // namespace temper
