// The drawings of a report, one by one.
#include "launch/report_chart.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "launch/report_diagrams.h"
#include "launch/report_svg.h"
#include "tests/launch/report_text.h"

namespace temper {
namespace {

TEST(ReportChartTest, TicksAreRoundAndEncloseTheRange) {
  EXPECT_EQ(nice_ticks(0, 10, 5), (std::vector<double>{0, 2, 4, 6, 8, 10}));
  EXPECT_EQ(nice_ticks(2.9, 5.6, 5), (std::vector<double>{2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6}));
  for (const double scale : {1e-7, 3e-4, 0.017, 1.0, 42.0, 6e9}) {
    const std::vector<double> ticks = nice_ticks(-0.3 * scale, scale, 5);
    EXPECT_LE(ticks.front(), -0.3 * scale * (1 - 1e-9));
    EXPECT_GE(ticks.back(), scale * (1 - 1e-9));
    EXPECT_TRUE(ticks.size() >= 4 && ticks.size() <= 11) << scale << ": " << ticks.size();
  }
}

TEST(ReportChartTest, TicksAreThereForNumbersOfAnySize) {
  for (const auto& [low, high] : {std::pair{-1.7e308, 1.7e308}, {0.0, 0.0}, {0.0, 5e-324}}) {
    const std::vector<double> ticks = nice_ticks(low, high, 5);
    EXPECT_EQ(ticks, (std::vector<double>{low, high}));
    EXPECT_EQ(tick_texts(ticks).size(), 2u);
    EXPECT_EQ(percent_texts(ticks).size(), 2u);
  }
}

TEST(ReportChartTest, BucketsKeepMeanAndRange) {
  // 0..9 in 3 buckets: {0,1,2}, {3,4,5}, {6,7,8,9}; y = x², but 4 is not finite.
  std::vector<ChartPoint> points;
  for (int i = 0; i < 10; ++i) points.push_back({1.0 * i, i == 4 ? std::nan("") : 1.0 * i * i});
  const std::vector<ChartBucket> buckets = bucket_points(points, 3);
  ASSERT_EQ(buckets.size(), 3u);
  EXPECT_DOUBLE_EQ(buckets[0].mean, 5.0 / 3);
  EXPECT_DOUBLE_EQ(buckets[1].mean, 17);
  EXPECT_DOUBLE_EQ(buckets[2].mean, 57.5);
  EXPECT_DOUBLE_EQ(buckets[2].x, 7.5);
  EXPECT_EQ(buckets[2].low, 36);
  EXPECT_EQ(buckets[2].high, 81);
  EXPECT_EQ(bucket_points(points, 600).size(), 10u);
}

TEST(ReportChartTest, NumbersThatAreNotFiniteMakeGaps) {
  const double inf = std::numeric_limits<double>::infinity();
  const std::vector<ChartPoint> points{{0, 1}, {1, 2}, {2, inf}, {3, 2}, {4, std::nan("")}, {5, 3}};
  const std::string svg = draw(LineChart{"t", "", "y", {{"a", "c1", points}}});
  const std::string line = path_of(svg, "line");
  EXPECT_EQ(count(line, "M"), 3u) << line;   // three pieces
  EXPECT_EQ(count(line, "h0"), 2u) << line;  // two of them single points
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_EQ(svg.find("inf"), std::string::npos);
  EXPECT_EQ(draw(LineChart{"t", "", "y", {{"a", "c1", {{0, inf}}}}}), "");
  EXPECT_NE(draw(LineChart{"t", "", "y", {{"a", "c1", {{7, 0}}}}}), "");  // a single point
}

TEST(ReportChartTest, LongCurvesAreDrawnWithFewPoints) {
  std::vector<ChartPoint> points;
  for (int i = 0; i < 100'000; ++i) points.push_back({1.0 * i, i == 777 ? 50.0 : 1.0});
  const std::string svg = draw(LineChart{"t", "", "y", {{"a", "c1", points}}});
  EXPECT_EQ(coordinates(path_of(svg, "line")).size(), 300u);
  EXPECT_EQ(coordinates(path_of(svg, "band")).size(), 600u);
  double top = 1000;  // the spike is still there: the band reaches the y of 50, the top of the axis
  for (const ChartPoint& point : coordinates(path_of(svg, "band"))) top = std::min(top, point.y);
  EXPECT_DOUBLE_EQ(top, 24);
}

TEST(ReportChartTest, AReliabilityDiagramPutsBinsWhereTheyBelong) {
  // Two bins; plot from (46, 254) to (380, 24): confidence 0.25 is x = 129.5, accuracy 0.2 y = 208.
  const std::vector<ReliabilityBin> bins{{30, 0.25, 0.2}, {0, 0, 0}};
  const std::string svg = draw(ReliabilityDiagram{"t", "", "c1", bins, bins});
  EXPECT_EQ(count(svg, "cx=\"129.5\" cy=\"208.0\""), 2u);
  EXPECT_EQ(count(svg, "<circle"), 2u);  // the empty bin has none
  EXPECT_EQ(draw(ReliabilityDiagram{"t", "", "c1", {{0, 0, 0}}, {}}), "");
}

TEST(ReportChartTest, AHistogramShowsTheShareOfEachBin) {
  // Two bins of 30 and 10 tokens: shares 75% and 25% of an axis from y = 166 (0) to 24 (80%).
  const std::vector<ReliabilityBin> bins{{30, 0.25, 0.2}, {10, 0.75, 0.5}};
  const std::string svg = draw_histogram({"t", "", "c1", bins, bins});
  EXPECT_EQ(count(svg, "V32.9H"), 2u) << svg;   // 166 - 142 · 0.75 / 0.8
  EXPECT_EQ(count(svg, "V121.6H"), 2u) << svg;  // 166 - 142 · 0.25 / 0.8
  EXPECT_NE(svg.find("mean confidence 37.50% → 37.50%"), std::string::npos);
  EXPECT_EQ(draw_histogram({"t", "", "c1", {{0, 0, 0}}, {}}), "");
}

}  // namespace
}  // namespace temper
