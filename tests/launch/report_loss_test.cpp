// What a report calls the numbers of a loss: no two quantities under one name, or in one curve.
#include "launch/report_loss.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>

#include "launch/report.h"
#include "launch/report_run.h"
#include "student/divergence.h"
#include "tests/launch/launcher.h"
#include "tests/launch/report_text.h"

namespace temper {
namespace {

constexpr Divergence kAll[] = {Divergence::kForwardKl, Divergence::kReverseKl,
                               Divergence::kJensenShannon, Divergence::kMixed,
                               Divergence::kTotalVariation};

/// Every second step on the student's own text where it writes, with a far larger ce.
std::string metrics(bool writes) {
  std::string lines;
  for (int step = 0; step < 100; ++step) {
    nlohmann::json line = {{"step", step}, {"loss", 5.0}, {"kl", 0.5}, {"ce", 4.0}};
    if (writes) {
      line["on_policy"] = step % 2 == 1;
      if (step % 2 == 1) line["ce"] = 100.0;
    }
    lines += line.dump() + "\n";
  }
  return lines;
}

std::string write_run(const ScratchDir& scratch, const std::string& name, const std::string& loss,
                      bool writes = false) {
  const std::string dir = scratch / name;
  std::filesystem::create_directories(dir);
  write_text(dir + "/config.ini", "# temper distill: x\n\n[loss]\nalpha = 0.9\n" + loss +
                                      "\n[teacher]\ntemperature = 2\n");
  write_text(dir + "/metrics.jsonl", metrics(writes));
  return dir;
}

std::string page(const std::vector<std::string>& dirs, const ScratchDir& scratch) {
  write_report(dirs, scratch / "page.html");
  return read_text(scratch / "page.html");
}

/// The first figure of this title; empty: there is none.
std::string figure(const std::string& html, const std::string& title) {
  const size_t at = html.find("<b>" + title + "</b>");
  return at == std::string::npos ? "" : html.substr(at, html.find("</figure>", at) - at);
}

TEST(ReportLossTest, EveryDivergenceHasItsNameFactorAndUnit) {
  const ScratchDir scratch;
  std::set<std::string> names, titles;
  for (const Divergence divergence : kAll) {
    const std::string kind = divergence_name(divergence);
    const std::string dir = write_run(scratch, kind, "kind = " + kind + "\nbeta = 0.3\n");
    const DivergenceWords words = divergence_of(read_run(dir));
    EXPECT_TRUE(names.insert(words.name).second) << words.name;
    EXPECT_TRUE(titles.insert(words.title).second) << words.title;
    EXPECT_EQ(temperature_factor(divergence, 3), words.factor == "T²" ? 9.0 : 3.0) << kind;
    EXPECT_EQ(words.in_nats(), divergence != Divergence::kTotalVariation);
    const std::string parts = figure(page({dir}, scratch), "Distillation: the loss and its parts");
    EXPECT_NE(parts.find("loss = α·" + words.factor + "·" + words.name + " + (1 − α)·CE"),
              std::string::npos)
        << parts;
    EXPECT_NE(parts.find("</i>" + words.name + "</span>"), std::string::npos) << parts;
    EXPECT_EQ(parts.find("β = 0.3") != std::string::npos, words.has_beta) << kind;
    EXPECT_EQ(parts.find(">nats per token<") != std::string::npos, words.in_nats()) << kind;
  }
  EXPECT_EQ(divergence_of(read_run(write_run(scratch, "old", ""))).kind, "forward-kl");
}

TEST(ReportLossTest, RunsOfDifferentDivergencesShareNoChart) {
  const ScratchDir scratch;
  const std::string html = page({write_run(scratch, "run-a", "kind = forward-kl\n"),
                                 write_run(scratch, "run-b", "kind = tvd\n"),
                                 write_run(scratch, "run-c", "kind = jsd\nbeta = 0.3\n"),
                                 write_run(scratch, "run-d", "kind = jsd\nbeta = 0.8\n")},
                                scratch);
  const auto runs_in = [&](const std::string& title) {
    const std::string chart = figure(html, title);
    std::string runs;
    for (const char* run : {"run-a", "run-b", "run-c", "run-d"})
      if (chart.find(run) != std::string::npos) runs += run + 4;
    return runs;
  };
  EXPECT_EQ(runs_in("KL to the teacher"), "a");
  EXPECT_EQ(runs_in("Total variation distance to the teacher"), "b");
  EXPECT_EQ(runs_in("Jensen-Shannon divergence to the teacher"), "cd");
  EXPECT_EQ(runs_in("Loss"), "abcd");
  const std::string jsd = figure(html, "Jensen-Shannon divergence to the teacher");
  for (const char* words : {"run-c, β = 0.3", "run-d, β = 0.8", "without T²", "nats per token"})
    EXPECT_NE(jsd.find(words), std::string::npos) << words << "\n" << jsd;
  const std::string tvd = figure(html, "Total variation distance to the teacher");
  EXPECT_NE(tvd.find("a share, 0 to 1"), std::string::npos) << tvd;
  EXPECT_EQ(tvd.find("T²"), std::string::npos) << tvd;
}

TEST(ReportLossTest, TheStudentsOwnTextIsNotTheTrainingText) {
  const ScratchDir scratch;
  const std::string own = write_run(scratch, "own", "", /*writes=*/true),
                    given = write_run(scratch, "given", "");
  const ReportRun run = read_run(own);
  EXPECT_EQ(points_of(run.metrics, &MetricsLine::ce).size(), 50u);
  EXPECT_EQ(points_of(run.metrics, &MetricsLine::loss).size(), 100u);
  for (const std::string& html : {page({own}, scratch), page({own, given}, scratch)}) {
    for (const char* title :
         {"Cross-entropy on the training text", "Distillation: the loss and its parts"}) {
      const std::string chart = figure(html, title);
      EXPECT_NE(chart, "") << title;
      EXPECT_EQ(chart.find(">100<"), std::string::npos) << title;  // neither axis reaches so far
    }
    EXPECT_NE(figure(html, "Cross-entropy on the training text")
                  .find("steps on the student&#39;s own text are left out"),
              std::string::npos);
  }
  EXPECT_EQ(figure(page({given}, scratch), "Cross-entropy on the training text").find("left out"),
            std::string::npos);
}

TEST(ReportLossTest, ACrossEntropyOfSomeTokensSaysSo) {
  const ScratchDir scratch;
  const auto note = [&](const std::string& loss) {
    return ce_note(read_run(write_run(scratch, "run", loss)));
  };
  EXPECT_EQ(note("token-share = 1\n"), "");
  EXPECT_EQ(note(""), "");
  EXPECT_NE(note("tokens = teacher-entropy\ntoken-share = 0.25\n").find("loss.token-share 0.25"),
            std::string::npos);
  EXPECT_NE(note("\n[train]\ncompletion-only = true\n").find("behind the prompt"),
            std::string::npos);
  const std::string some = write_run(scratch, "some", "token-share = 0.25\n"),
                    all = write_run(scratch, "all", "token-share = 1\n");
  for (const std::vector<std::string>& dirs : {std::vector{some}, std::vector{some, all}}) {
    EXPECT_NE(figure(page(dirs, scratch), "Cross-entropy on the training text")
                  .find("loss.token-share 0.25"),
              std::string::npos);
  }
}

TEST(ReportLossTest, TheFormulaHasAllTermsOfTheLoss) {
  const ScratchDir scratch;
  const auto loss_chart = [&](const std::string& loss, double kl) {
    write_text(scratch / "config.ini", "# temper distill: x\n\n[loss]\nalpha = 0.9\n" + loss +
                                           "\n[teacher]\nstore = \ntemperature = 2\n");
    std::string lines;
    for (int step = 0; step < 6; ++step) {
      lines +=
          nlohmann::json{{"step", step}, {"loss", 5.0}, {"kl", kl}, {"ce", 4.0}, {"hidden", 0.25}}
              .dump() +
          "\n";
    }
    write_text(scratch / "metrics.jsonl", lines);
    return figure(page({scratch.path()}, scratch), "Distillation: the loss and its parts");
  };
  const auto expect = [](const std::string& chart, const std::string& words, bool there) {
    EXPECT_EQ(chart.find(words) != std::string::npos, there) << words << "\n" << chart;
  };
  const std::string plain = loss_chart(
      "hidden-weight = 0\nhidden-kind = cosine\nlabel-smoothing = 0\nhard-temperature = 1\n"
      "hard-rescale = true\nconfidence-penalty = 0\nz-loss = 0\ntoken-weighting = false\n",
      0.5);
  expect(plain,
         "<small>loss = α·T²·KL(teacher ‖ student) + (1 − α)·CE, here α = 0.9, T = 2</small>",
         true);
  expect(plain, "</i>hidden</span>", false);
  expect(plain, ">nats per token<", true);

  const std::string all = loss_chart(
      "hidden-weight = 0.5\nhidden-kind = mse\nlabel-smoothing = 0.1\nhard-temperature = 3\n"
      "hard-rescale = true\nconfidence-penalty = 0.05\nz-loss = 0.0001\ntoken-weighting = true\n",
      0.5);
  expect(all,
         "loss = α·T²·KL(teacher ‖ student) + (1 − α)·τ·CE′ + γ·hidden − c·H + λ·(log Z)², here α "
         "= 0.9, T = 2, ε = 0.1, τ = 3, γ = 0.5, c = 0.05, λ = 0.0001; ",
         true);
  for (const char* words :
       {"CE′: of labels smoothed by ε, at the temperature τ, ", "mean squared difference",
        "all terms but hidden weigh tokens", "</i>hidden</span>", "hidden: mean square<"})
    expect(all, words, true);

  const std::string some =
      loss_chart("hidden-weight = 1\nhard-temperature = 3\nhard-rescale = false\n", 0);
  for (const char* words : {" + (1 − α)·CE′ + γ·hidden, here", "CE′: at the temperature τ, ",
                            "hidden: 1 − cosine<", "</i>hidden</span>"})
    expect(some, words, true);
  expect(some, "</i>KL(teacher ‖ student)</span>", false);  // nobody worked it out
  EXPECT_EQ(read_run(scratch.path()).metrics.at(0).hidden, 0.25);
}

}  // namespace
}  // namespace temper
