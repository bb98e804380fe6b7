// Faults on request, and the naming of slow ranks.
#include "launch/faults.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "launch/stragglers.h"

namespace temper {
namespace {

TEST(FaultsTest, AreReadAndWrittenTheSame) {
  const std::string list =
      "0:5:kill,2:17:stop@comm,1:0:throw@save,3:9:nan,0:1:slow,1:2:disk,4:6:flip";
  std::string again;
  for (const Fault& fault : FaultConfig{list}.parse())
    again += (again.empty() ? "" : ",") + fault.text();
  EXPECT_EQ(again, list);
  EXPECT_TRUE(FaultConfig{}.parse().empty());
}

TEST(FaultsTest, WhatCannotBeReadIsNamed) {
  for (const std::string bad :
       {"5", "0:5", "0:5:", "0:5:boom", "-1:5:kill", "a:5:kill", "0:x:kill", "0:5:kill@",
        "0:5:kill@home", "0:5:nan@comm", ":5:kill", "99999999999999999999:5:kill"}) {
    try {
      FaultConfig{"0:1:kill," + bad}.validate();
      ADD_FAILURE() << bad << " was taken";
    } catch (const c10::ValueError& error) {
      EXPECT_NE(std::string(error.what_without_backtrace()).find("--debug.fault has '" + bad + "'"),
                std::string::npos)
          << error.what_without_backtrace();
    }
  }
}

std::vector<std::string> lines(const std::vector<std::vector<double>>& windows) {
  Stragglers stragglers({"rank 0 on a", "rank 1 on b", "rank 2 on c"});
  std::vector<std::string> said;
  for (const std::vector<double>& seconds : windows) {
    for (int step = 0; step < Stragglers::kWindow; ++step) {
      const auto line = stragglers.add(seconds);
      if (!line) continue;
      EXPECT_EQ(step, Stragglers::kWindow - 1);
      said.push_back(*line);
    }
  }
  return said;
}

TEST(StragglersTest, TheSlowestIsNamedOnceByHowMuch) {
  EXPECT_TRUE(lines({{1, 1.1, 1.4}, {1, 1, 1}}).empty());
  const auto said = lines({{1, 2.5, 1}, {1, 2.5, 1}, {3, 1, 1}, {1, 1, 1}, {3, 1, 1}});
  ASSERT_EQ(said.size(), 3u);
  EXPECT_EQ(said[0],
            "rank 1 on b is slow: its own work took 2.5 times that of the others over 20 "
            "steps");
  EXPECT_EQ(said[1].rfind("rank 0 on a is slow", 0), 0u);
  EXPECT_EQ(said[2].rfind("rank 0 on a is slow", 0), 0u);
}

TEST(StragglersTest, OneSlowStepIsNotEnough) {
  Stragglers stragglers({"rank 0", "rank 1"});
  for (int step = 0; step < Stragglers::kWindow; ++step)
    EXPECT_FALSE(stragglers.add({1, step == 3 ? 8.0 : 1.0}));
}

}  // namespace
}  // namespace temper
