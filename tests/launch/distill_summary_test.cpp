// The words at the end of a distillation.
#include "launch/distill_summary.h"

#include <gtest/gtest.h>

namespace temper {
namespace {

TEST(DistillSummaryTest, ATemperatureThatTheDataDoNotDetermineIsNoSecret) {
  ModelResult result;
  result.name = "student, distilled";
  result.seed = 3;
  result.fit.temperature = 100;
  DistillSummary summary;
  summary.results = {result};
  const std::string warning =
      "warning: these data do not determine the temperature of 'student, distilled', seed 3 (100 "
      "is as far as the search went)\n";
  EXPECT_EQ(to_text(summary).find(warning), std::string::npos);
  summary.results[0].fit.undetermined = true;
  EXPECT_NE(to_text(summary).find(warning), std::string::npos) << to_text(summary);
}

}  // namespace
}  // namespace temper
