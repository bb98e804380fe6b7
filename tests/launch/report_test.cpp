// The page of a run folder: what it must show, and what must not break it.
#include "launch/report.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cctype>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <nlohmann/json.hpp>

#include "launch/report_chart.h"
#include "launch/report_diagrams.h"
#include "launch/report_run.h"
#include "launch/report_svg.h"
#include "launch/results.h"
#include "tests/launch/launcher.h"
#include "tests/launch/report_text.h"

namespace temper {
namespace {

ModelResult result(const std::string& name, uint64_t seed) {
  ModelResult each;
  each.name = name;
  each.seed = seed;
  each.parameters = 1000;
  for (Metrics* metrics :
       {&each.fit_before, &each.fit_after, &each.test_before, &each.test_after}) {
    metrics->nll = 3.5;
    metrics->tokens = 150;
    for (size_t bin = 0; bin < metrics->bins.size(); ++bin) {
      const double middle = (static_cast<double>(bin) + 0.5) / 15;
      metrics->bins[bin] = {10, middle, middle};
    }
  }
  return each;
}

std::string metrics(int steps) {
  std::string lines;
  for (int step = 0; step < steps; ++step) {
    lines += nlohmann::json{{"step", step},
                            {"loss", 5.0 - 0.001 * step},
                            {"kl", 0.5},
                            {"ce", 4.0},
                            {"grad_norm", 1.0},
                            {"lr", 1e-3},
                            {"tokens", 100},
                            {"tokens_per_s", 1e4},
                            {"step_seconds", 0.01},
                            {"wait_teacher", 0.25},
                            {"wait_student", 0.0},
                            {"bytes_per_token", 1024.0}}
                 .dump() +
             "\n";
  }
  return lines;
}

std::string page(const ScratchDir& scratch) {
  write_report(scratch.path());
  return read_text(scratch / "report.html");
}

TEST(ReportTest, ShowsTableCurvesAndDiagrams) {
  const ScratchDir scratch;
  nlohmann::ordered_json summary;
  for (const char* name : {"teacher", "student, distilled", "student, hard labels"})
    summary["results"].push_back(to_json(result(name, 1)));
  summary["entropy_floor"] = 3.25;
  write_text(scratch / "summary.json", summary.dump());
  write_text(scratch / "config.ini", "[run]\ndir = <b>&\"x\"\n");
  write_text(scratch / "metrics.jsonl", metrics(3000));
  write_text(scratch / "hard-labels-metrics.jsonl", metrics(3000));
  const std::string html = page(scratch);
  for (const char* words : {"student, distilled", "student, hard labels", "teacher", "3.25",
                            "prefers-color-scheme", "&lt;b&gt;&amp;"}) {
    EXPECT_NE(html.find(words), std::string::npos) << words;
  }
  EXPECT_GE(count(html, "<svg"), 6u);  // curves, and a diagram for each model
  EXPECT_EQ(html.find("<b>&\"x\""), std::string::npos);
  EXPECT_EQ(count(html, "<script"), 0u);
  EXPECT_EQ(count(html, "http://") + count(html, "https://"),
            count(html, "http://www.w3.org/2000/svg"));
  EXPECT_LT(html.size(), 1'000'000u);
}

TEST(ReportTest, DrawsWhatChangesInTheLoss) {
  const ScratchDir scratch;
  write_text(scratch / "config.ini",
             "[run]\n[loss]\nalpha = 0:1,5:0\n[teacher]\ntemperature = 2\n");
  write_text(scratch / "metrics.jsonl", metrics(6));
  EXPECT_EQ(page(scratch).find("Weights of the loss"), std::string::npos);
  std::string lines;
  for (int step = 0; step < 6; ++step) {
    lines += nlohmann::json{{"step", step}, {"loss", 5.0}, {"alpha", 1 - 0.2 * step}}.dump() + "\n";
  }
  write_text(scratch / "metrics.jsonl", lines);
  const std::string html = page(scratch);
  EXPECT_NE(html.find("Weight of the soft targets"), std::string::npos);
  EXPECT_EQ(html.find("Training temperature"), std::string::npos);
  EXPECT_EQ(read_run(scratch.path()).metrics.at(5).alpha, 0);
}

TEST(ReportTest, AReplayHasAStoreAndNoTeachers) {
  const ScratchDir scratch;
  write_text(scratch / "metrics.jsonl", metrics(10));
  nlohmann::json summary;
  summary["training"] = {{"seconds", 65.0},
                         {"tokens_per_s", 12345.0},
                         {"wait_teacher", 0.25},
                         {"wait_student", 0.0},
                         {"bytes_per_token", 1024.0}};
  write_text(scratch / "summary.json", summary.dump());
  for (const bool replays : {false, true}) {
    write_text(scratch / "config.ini",
               std::string("[teacher]\nstore = ") + (replays ? "recorded" : "") + "\n");
    const std::string html = page(scratch);
    for (const char* words : {"students waited for the store</dt><dd>25%<",
                              "bytes per token read from the store</dt><dd>1024<",
                              "Soft targets read from the store", "students for the store"})
      EXPECT_EQ(html.find(words) != std::string::npos, replays) << words;
    for (const char* words :
         {"students waited for teachers</dt><dd>25%<", "teachers waited for students",
          "bytes per token on the wire</dt><dd>1024<", "Soft targets on the wire",
          "students for teachers", "teachers for students"})
      EXPECT_EQ(html.find(words) != std::string::npos, !replays) << words;
  }
}

TEST(ReportTest, MissingPiecesAndNullsAreHarmless) {
  const ScratchDir scratch;
  ModelResult broken = result("model", 0);
  broken.test_before.nll = std::nan("");
  write_text(scratch / "summary.json", to_json(broken).dump());
  write_text(scratch / "config.ini", "[run]\n");
  write_text(scratch / "metrics.jsonl", "{\"step\":0,\"loss\":null}\n" + metrics(2));
  EXPECT_NE(page(scratch).find("</html>"), std::string::npos);
}

TEST(ReportTest, NumbersOfAnySizeAreDrawn) {
  const ScratchDir scratch;
  for (const auto& [low, high] : {std::pair{"-1.7e308", "1.7e308"},
                                  {"0", "5e-324"},
                                  {"1e300", "1.0000000000000001e300"},
                                  {"1e18", "1e18"}}) {
    std::string lines;
    for (const char* value : {low, high}) {
      const std::string number(value);
      lines += "{\"step\":" + number + ",\"loss\":" + number + ",\"kl\":" + number +
               ",\"ce\":" + number + ",\"tokens_per_s\":" + number + "}\n";
    }
    write_text(scratch / "metrics.jsonl", lines);
    // The sum of the bins' tokens is no number, and so no share of them is.
    const std::string bin = R"({"tokens":1.7e308,"confidence":0.5,"accuracy":0.5})";
    write_text(scratch / "summary.json",
               R"({"seconds":1e300,"test":{"before":{"bins":[)" + bin + "," + bin + "]}}}");
    EXPECT_NE(page(scratch).find("</html>"), std::string::npos) << low;
  }
}

/// Where tags do not nest; empty if all is well.
std::string nesting_fault(const std::string& html) {
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "a tag without an end at " + std::to_string(at);
    const std::string tag = html.substr(at + 1, end - at - 1);
    const bool closes = tag[0] == '/';
    const std::string name = tag.substr(closes, tag.find_first_of(" \n", 1) - closes);
    if (tag[0] == '!' || name == "meta" || tag.back() == '/') continue;
    if (!closes) {
      open.push_back(name);
    } else if (open.empty() || open.back() != name) {
      return "<" + tag + "> at " + std::to_string(at);
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> stays open";
}

TEST(ReportTest, RowsAreMeansOverSeedsWithTheirSpread) {
  const ScratchDir scratch;
  nlohmann::ordered_json summary;
  for (const auto& [seed, nll, temperature] :
       {std::tuple{1, 3.1000, 0.9}, {2, 3.1020, 1.0}, {3, 3.1070, 1.25}}) {
    ModelResult each = result("student, distilled", static_cast<uint64_t>(seed));
    each.test_before.nll = nll;
    each.test_before.accuracy = 0.25;
    each.fit.temperature = temperature;
    summary["results"].push_back(to_json(each));
  }
  write_text(scratch / "summary.json", summary.dump());
  const std::string html = page(scratch);
  EXPECT_NE(html.find("3.1030<small>spread 0.0070</small>"), std::string::npos);
  EXPECT_NE(html.find("1.0500<small>spread 0.3500</small>"), std::string::npos);
  EXPECT_NE(html.find("25.00%<small>spread 0.00%</small>"), std::string::npos);
  EXPECT_NE(html.find("3 seeds"), std::string::npos);
  EXPECT_EQ(count(html, "<svg"), 2u);  // the first seed's diagram and histogram; no curves
  EXPECT_EQ(html.find("entropy floor"), std::string::npos);
  EXPECT_EQ(html.find("Training</h2>"), std::string::npos);
  EXPECT_EQ(html.find("Configuration"), std::string::npos);
}

TEST(ReportTest, ASeedWithoutANumberLeavesNoMean) {
  const ScratchDir scratch;
  nlohmann::ordered_json summary;
  for (const double nll : {3.0, std::nan("")}) {
    ModelResult each = result("model", 1);
    each.test_after.nll = nll;
    summary["results"].push_back(to_json(each));
  }
  write_text(scratch / "summary.json", summary.dump());
  const std::string html = page(scratch);
  EXPECT_NE(html.find("<td data-name=\"NLL\">–</td>"), std::string::npos);
  EXPECT_EQ(html.find("3.0000"), std::string::npos);
  EXPECT_EQ(html.find("nan"), std::string::npos);
}

TEST(ReportTest, TagsNestAndDrawingsStayInTheirBoxes) {
  const ScratchDir scratch;
  const std::string dir = scratch / "a<b>&'c\"";
  std::filesystem::create_directories(dir);
  nlohmann::ordered_json summary;
  for (const char* name : {"teacher", "student, distilled", "<i>other</i>"})
    summary["results"].push_back(to_json(result(name, 1)));
  summary["entropy_floor"] = 3.25;
  summary["training"] = {{"seconds", 65.0},
                         {"tokens_per_s", 12345.0},
                         {"wait_teacher", 0.25},
                         {"wait_student", nullptr},
                         {"bytes_per_token", 1024.0}};
  write_text(dir + "/summary.json", summary.dump());
  write_text(dir + "/config.ini", "# temper distill: x\n\n[run]\nseed = 7\n");
  for (const char* file : {"metrics", "hard-labels-metrics", "teacher-metrics"})
    write_text(dir + "/" + file + ".jsonl", metrics(1000));
  write_report(dir);
  const std::string html = read_text(dir + "/report.html");
  EXPECT_EQ(nesting_fault(html), "");
  EXPECT_NE(html.find("<h1>a&lt;b&gt;&amp;&#39;c&quot;</h1>"), std::string::npos);
  EXPECT_NE(html.find("temper distill, seed 7"), std::string::npos);
  EXPECT_EQ(html.find("<i>other"), std::string::npos);
  EXPECT_NE(html.find("1m05s"), std::string::npos);
  EXPECT_EQ(html.find("teachers waited"), std::string::npos);  // null: not measured
  EXPECT_EQ(html.find("src="), std::string::npos);
  EXPECT_EQ(html.find("url("), std::string::npos);
  EXPECT_EQ(html.find("@import"), std::string::npos);
  size_t points = 0;
  for (size_t at = html.find(" d=\""); at != std::string::npos; at = html.find(" d=\"", at + 1)) {
    for (const ChartPoint& point :
         coordinates(html.substr(at + 4, html.find('"', at + 4) - at - 4))) {
      ASSERT_TRUE(point.x >= 40 && point.x <= 400) << point.x;
      ASSERT_TRUE(point.y >= 20 && point.y <= 384) << point.y;
      ++points;
    }
  }
  EXPECT_GT(points, 1000u);
}

TEST(ReportTest, ReadsTheSummaryOfTrain) {
  const ScratchDir scratch;
  nlohmann::ordered_json summary = to_json(result("model", 1));
  summary["seconds"] = 41.0;
  write_text(scratch / "summary.json", summary.dump());
  const ReportRun run = read_run(scratch.path());
  ASSERT_EQ(run.results.size(), 1u);
  EXPECT_EQ(run.results[0].after.bins.size(), 15u);
  EXPECT_EQ(run.results[0].before.nll, 3.5);
  EXPECT_EQ(run.seconds, 41.0);
  EXPECT_TRUE(std::isnan(run.wait_teacher));
}

TEST(ReportTest, OnlyACutOffLastLineIsForgiven) {
  const ScratchDir scratch;
  write_text(scratch / "metrics.jsonl", metrics(2) + "{\"step\":2,\"lo");
  EXPECT_EQ(read_run(scratch.path()).metrics.size(), 2u);
  write_text(scratch / "metrics.jsonl", metrics(1) + "{\"step\"\n" + metrics(1));
  EXPECT_THROW(read_run(scratch.path()), c10::ValueError);
  write_text(scratch / "metrics.jsonl", metrics(1));
  write_text(scratch / "summary.json", "{");
  EXPECT_THROW(read_run(scratch.path()), c10::ValueError);
}

TEST(ReportTest, AFolderWithoutARunIsRefused) {
  const ScratchDir scratch;
  EXPECT_THROW(write_report(scratch.path()), c10::ValueError);
  EXPECT_THROW(write_report(scratch / "nowhere"), c10::ValueError);
}

TEST(ReportTest, TheLikelihoodIsDrawnOverTheTemperatureWithItsFit) {
  const ScratchDir scratch;
  ModelResult each = result("model", 1);
  each.fit.temperature = 2;
  each.fit_after.nll = 3;
  for (const double t : {0.5, 1.0, 2.0, 4.0, 8.0})
    each.nll_curve.push_back({t, 3 + std::abs(t - 2)});
  const nlohmann::ordered_json json = to_json(each);
  EXPECT_EQ(result_from_json(json).nll_curve.size(), 5u);
  write_text(scratch / "summary.json", json.dump());
  const std::string html = page(scratch);
  const size_t at = html.find("NLL over the temperature");
  ASSERT_NE(at, std::string::npos);
  const std::string svg = html.substr(at);
  // log 2 lies in the middle of log 0.5 and log 8: x = 213 of 46 to 380; y of 3 is the bottom, 206.
  EXPECT_NE(svg.find("cx=\"213.0\" cy=\"206.0\""), std::string::npos) << svg;
  EXPECT_NE(svg.find("T = 2.0000"), std::string::npos);
  EXPECT_NE(svg.find("temperature T, logarithmic"), std::string::npos);
}

TEST(ReportTest, SchedulesAreDrawnWhereTheyChange) {
  const auto lines = [](bool changes) {
    std::string text;
    for (int step = 0; step < 10; ++step)
      text += nlohmann::json{{"step", step},
                             {"loss", 3.0},
                             {"temperature", changes ? 4 - 0.3 * step : 2.0},
                             {"alpha", changes ? 0.5 + 0.01 * step : 0.5}}
                  .dump() +
              "\n";
    return text;
  };
  const ScratchDir scratch;
  write_text(scratch / "metrics.jsonl", lines(true));
  const std::string changing = page(scratch);
  write_text(scratch / "metrics.jsonl", lines(false));
  const std::string constant = page(scratch);
  for (const char* title : {"Training temperature", "Weight of the soft targets"}) {
    EXPECT_NE(changing.find(title), std::string::npos) << title;
    EXPECT_EQ(constant.find(title), std::string::npos) << title;
  }
}

TEST(ReportTest, SeveralRunsAreComparedAndFollowByThemselves) {
  const ScratchDir scratch;
  std::vector<std::string> dirs;
  for (const int n : {1, 2, 3}) {
    const std::string dir = scratch / (n < 3 ? "a" + std::to_string(n) + "/same" : "<third>");
    std::filesystem::create_directories(dir);
    nlohmann::ordered_json summary;
    for (const char* name : {"teacher", "student, distilled"})
      summary["results"].push_back(to_json(result(name, static_cast<uint64_t>(n))));
    write_text(dir + "/summary.json", summary.dump());
    write_text(dir + "/config.ini", "# temper distill: x\n\n[run]\ndir = " + dir +
                                        "\nseed = 7\n\n[loss]\nalpha = 0." + std::to_string(n) +
                                        "\n");
    write_text(dir + "/metrics.jsonl", metrics(100));
    dirs.push_back(dir);
  }
  write_report(dirs, scratch / "page.html");
  const std::string html = read_text(scratch / "page.html");
  EXPECT_EQ(nesting_fault(html), "");
  EXPECT_NE(html.find("Comparison of 3 runs"), std::string::npos);
  EXPECT_EQ(count(html, "<section"), 3u);
  EXPECT_NE(html.find("&lt;third&gt;"), std::string::npos);
  EXPECT_NE(html.find(dirs[0] + "</a>"), std::string::npos);  // one name, told apart by its path
  const std::string differs = html.substr(html.find("What differs"));
  EXPECT_NE(differs.find("<b>loss.alpha</b>"), std::string::npos);
  EXPECT_EQ(differs.find("<b>run."), std::string::npos);  // seed is the same, dir differs always
  EXPECT_EQ(count(html, "data-name=\"NLL, calibrated\""), 6u);
  EXPECT_EQ(count(html, "<script"), 0u);
}

}  // namespace
}  // namespace temper
