#include "launch/results.h"

#include <gtest/gtest.h>

#include <cmath>

#include "launch/progress.h"

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
}

}  // namespace
}  // namespace temper
