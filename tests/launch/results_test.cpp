#include "launch/results.h"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "launch/progress.h"
#include "launch/training_summary.h"

namespace temper {
namespace {

ModelResult result(const std::string& name, uint64_t seed, double nll) {
  ModelResult each;
  each.name = name;
  each.seed = seed;
  each.parameters = 12345;
  each.fit.temperature = 1.25;
  each.fit.passes = 4;
  each.test_before.nll = nll;
  each.test_before.perplexity = std::exp(nll);
  each.test_before.tokens = 99;
  each.test_before.bins[3] = {7, 0.25, 0.5};
  return each;
}

TEST(ResultsTest, JsonAndBack) {
  const ModelResult before = result("teacher", 3, 2.5);
  const ModelResult after = result_from_json(nlohmann::ordered_json::parse(to_json(before).dump()));
  EXPECT_EQ(to_json(after), to_json(before));
  EXPECT_EQ(after.test_before.bins[3].tokens, 7);
}

TEST(ResultsTest, WhatIsOptionalComesBackToo) {
  ModelResult before = result("student", 1, 2.5);
  before.test_after.exact = ExactMetrics{0.5, 0.01, 0.02};
  before.test_after.intervals = {7, {2.4, 2.6}, {0.1, 0.2}, {0.8, 0.9}, {0.01, 0.03}};
  PositionBucket bucket;
  bucket.end = 64;
  bucket.fit.temperature = 1.5;
  before.positions = {bucket};
  const ModelResult after = result_from_json(nlohmann::ordered_json::parse(to_json(before).dump()));
  EXPECT_EQ(to_json(after), to_json(before));
  EXPECT_EQ(after.test_after.exact->confidence_error, 0.02);
  EXPECT_FALSE(after.test_before.exact);
  EXPECT_EQ(after.test_after.intervals.ece.high, 0.03);
  EXPECT_EQ(after.positions.at(0).fit.temperature, 1.5);
}

// JSON knows no such numbers: they are written as null.
TEST(ResultsTest, NumbersThatAreNotFiniteComeBack) {
  ModelResult before = result("student", 1, 800);
  ASSERT_TRUE(std::isinf(before.test_before.perplexity));
  before.test_after.nll = before.test_after.perplexity = NAN;
  before.test_after.exact = ExactMetrics{INFINITY, 0.01, 0.02};
  before.test_after.intervals = {7, {2.4, INFINITY}, {0.1, 0.2}, {0.8, 0.9}, {0.01, 0.03}};
  before.nll_curve = {{1.5, INFINITY}};
  PositionBucket bucket;
  bucket.nll_after = INFINITY;
  before.positions = {bucket};
  const ModelResult after = result_from_json(nlohmann::ordered_json::parse(to_json(before).dump()));
  EXPECT_EQ(after.test_before.nll, 800);
  EXPECT_TRUE(std::isinf(after.test_before.perplexity));
  EXPECT_TRUE(std::isnan(after.test_after.nll));
  EXPECT_TRUE(std::isnan(after.test_after.exact->kl));
  EXPECT_EQ(after.test_after.exact->ece, 0.01);
  EXPECT_EQ(after.test_after.intervals.nll.low, 2.4);
  EXPECT_TRUE(std::isnan(after.test_after.intervals.nll.high));
  EXPECT_TRUE(std::isnan(after.nll_curve.at(0).nll));
  EXPECT_TRUE(std::isnan(after.positions.at(0).nll_after));
  // And it goes round again.
  EXPECT_EQ(to_json(result_from_json(to_json(after))).dump(), to_json(after).dump());
}

TEST(ResultsTest, SaysWhenTheCalibrationErrorRose) {
  ModelResult each = result("student", 1, 2.5);
  each.test_before.ece = 0.0018;
  each.test_after.ece = 0.0033;
  EXPECT_NE(ece_note(each).find("ECE rose from 0.18% to 0.33%"), std::string::npos);
  EXPECT_EQ(to_json(each).at("ece_rose"), true);
  each.test_after.ece = 0.0017;
  EXPECT_EQ(ece_note(each), "");
  EXPECT_EQ(to_json(each).at("ece_rose"), false);
}

TEST(ResultsTest, TablesAreNoWiderThan140Columns) {
  ModelResult each = result("student, hard labels", 1, 12.5);
  for (Metrics* metrics : {&each.test_before, &each.test_after}) {
    metrics->perplexity = 123456.789;
    metrics->accuracy = metrics->ece = 1;
    metrics->intervals = {123456, {12.4, 12.6}, {0.1, 0.2}, {0.8, 0.9}, {0.1, 0.2}};
    metrics->exact = ExactMetrics{12.5, 1, 1};
  }
  const std::vector<std::pair<std::string, Metrics>> rows{{"test part, before", each.test_before},
                                                          {"test part, after", each.test_after}};
  std::istringstream lines(results_table({each, each}, 4.07) + metrics_table(rows) +
                           intervals_table(rows));
  for (std::string line; std::getline(lines, line);) EXPECT_LE(line.size(), 140u) << line;
}

TEST(ResultsTest, TableGivesMeanAndSpread) {
  const std::string table = results_table(
      {result("teacher", 0, 2.0), result("student", 1, 3.0), result("student", 2, 3.5)}, 1.75);
  EXPECT_NE(table.find("3.2500 (spread 0.5000)"), std::string::npos) << table;
  EXPECT_NE(table.find("entropy floor"), std::string::npos);
  EXPECT_EQ(results_table({result("teacher", 0, 2.0)}, NAN).find("entropy floor"),
            std::string::npos);
}

TEST(ResultsTest, TextsForPeople) {
  EXPECT_EQ(duration_text(59.4), "59s");
  EXPECT_EQ(duration_text(125), "2m05s");
  EXPECT_EQ(duration_text(3720), "1h02m");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(12345), "12.3k");
  EXPECT_EQ(count_text(4.56e6), "4.56M");
  EXPECT_EQ(stop_words({}), "stopped by a signal before the first step: nothing to save");
  EXPECT_EQ(stop_words({}, /*goes_on=*/true),
            "stopped by a signal before the first step: checkpoints and results are as they were");
}

}  // namespace
}  // namespace temper
