// The page of a run folder: what it must show, and what must not break it.
#include "launch/report.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "launch/results.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

size_t count(const std::string& text, const std::string& what) {
  size_t found = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + what.size()))
    ++found;
  return found;
}

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

TEST(ReportTest, MissingPiecesAndNullsAreHarmless) {
  const ScratchDir scratch;
  ModelResult broken = result("model", 0);
  broken.test_before.nll = std::nan("");
  write_text(scratch / "summary.json", to_json(broken).dump());
  write_text(scratch / "config.ini", "[run]\n");
  write_text(scratch / "metrics.jsonl", "{\"step\":0,\"loss\":null}\n" + metrics(2));
  EXPECT_NE(page(scratch).find("</html>"), std::string::npos);
}

}  // namespace
}  // namespace temper
