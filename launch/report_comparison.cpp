#include "launch/report_comparison.h"

#include <algorithm>
#include <map>
#include <set>
#include <sstream>
#include <utility>

#include "launch/progress.h"
#include "launch/report_chart.h"
#include "launch/report_loss.h"
#include "launch/report_sections.h"
#include "launch/report_svg.h"

namespace temper {

namespace {

constexpr size_t kColors = 5;

/// Runs wear the colours in order; the next round of them is dashed, the one after dotted.
std::string color_of(size_t run) { return format("c%zu", run % kColors + 1); }
std::string stroke_of(size_t run) {
  constexpr const char* kStrokes[] = {"", "dashed", "dotted"};
  return kStrokes[run / kColors % 3];
}

bool is_run_model(const ReportResult& result) {
  return result.name == "student, distilled" || result.name == "model";
}

std::string cell(const std::string& name, double value, const char* pattern, double unit = 1) {
  std::string text = "–";
  if (std::isfinite(value)) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, pattern, unit * value);
    text = buffer;
  }
  return "<td data-name=\"" + name + "\">" + text + "</td>";
}

std::string results_table(const std::vector<ReportRun>& runs) {
  const bool exact = std::any_of(runs.begin(), runs.end(), knows_truth);
  std::string rows;
  for (size_t i = 0; i < runs.size(); ++i) {
    const ReportRun& run = runs[i];
    bool seen = false;
    for (const ReportResult& result : run.results) {
      std::string model = escape_html(result.name);
      if (std::isfinite(result.seed) && result.name != "teacher")
        model += format(", seed %.0f", result.seed);
      rows += "<tbody><tr><th scope=\"row\"><b class=\"" + color_of(i) + "\">" +
              escape_html(run.name) + "</b><small>" + model + "</small></th>";
      rows += cell("NLL", result.before.nll, "%.4f");
      if (exact) rows += cell("KL to the truth", result.before.exact_kl, "%.4f");
      rows += cell("NLL, calibrated", result.after.nll, "%.4f") +
              cell("ECE", result.before.ece, "%.2f%%", 100) +
              cell("ECE, calibrated", result.after.ece, "%.2f%%", 100);
      if (exact) rows += cell("ECE, exact", result.before.exact_ece, "%.2f%%", 100);
      rows += cell("T", result.temperature, "%.4f") +
              cell("accuracy", result.before.accuracy, "%.2f%%", 100);
      // The summary has the speed of the first student alone.
      const bool timed = is_run_model(result) && !std::exchange(seen, true);
      const double speed = timed ? run.tokens_per_s : NAN;
      rows += "<td data-name=\"tokens/s\">" +
              (std::isfinite(speed) ? count_text(speed) : std::string("–")) + "</td>";
      rows += "</tr></tbody>\n";
    }
  }
  if (rows.empty()) return "";
  std::string head;
  std::vector<const char*> names = {"NLL", "NLL, calibrated", "ECE",     "ECE, calibrated",
                                    "T",   "accuracy",        "tokens/s"};
  if (exact) {
    names.insert(names.begin() + 1, "KL to the truth");
    names.insert(names.begin() + 5, "ECE, exact");
  }
  for (const char* name : names) head += std::string("<th scope=\"col\">") + name + "</th>";
  return heading(2, "Results on the test part") + "<table><thead><tr><th scope=\"col\">run</th>" +
         head + "</tr></thead>\n" + rows +
         "</table>\n<p><small>NLL in nats per token; ECE: expected calibration error over 15 bins; "
         "T: the temperature, fitted on the fit part; " +
         (exact ? "KL to the truth and exact ECE: against the language's own distribution, at T = "
                  "1; "
                : "") +
         "tokens/s: of the student's training. Runs "
         "on different data or with different tokenizers do not compare.</small></p>\n";
}

/// section.key → value of config.ini.
std::map<std::string, std::string> options_to_compare(const std::string& config) {
  std::map<std::string, std::string> options;
  std::istringstream lines(config);
  std::string section;
  for (std::string line; std::getline(lines, line);) {
    const size_t equals = line.find(" = ");
    if (line.rfind('[', 0) == 0) {
      section = line.substr(1, line.find(']') - 1);
    } else if (line.rfind('#', 0) != 0 && equals != std::string::npos) {
      std::string& value = options[section + "." + line.substr(0, equals)];
      value += (value.empty() ? "" : ", ") + line.substr(equals + 3);
    }
  }
  options.erase("run.dir");  // differs always
  return options;
}

std::string differences_table(const std::vector<ReportRun>& runs) {
  std::vector<std::map<std::string, std::string>> options;
  std::map<std::string, bool> names;
  for (const ReportRun& run : runs) {
    options.push_back(options_to_compare(run.config));
    for (const auto& [name, value] : options.back()) names[name] = true;
  }
  std::string rows;
  for (const auto& [name, ignored] : names) {
    std::vector<std::string> values;
    std::set<std::string> different;  // an option that only one command knows is no difference
    for (const auto& each : options) {
      const auto found = each.find(name);
      values.push_back(found == each.end() ? "–" : found->second);
      if (found != each.end()) different.insert(found->second);
    }
    if (different.size() < 2) continue;
    rows += "<tbody><tr><th scope=\"row\"><b>" + escape_html(name) + "</b></th>";
    for (size_t i = 0; i < runs.size(); ++i) {
      rows += "<td class=\"value\" data-name=\"" + escape_html(runs[i].name) + "\">" +
              escape_html(values[i]) + "</td>";
    }
    rows += "</tr></tbody>\n";
  }
  if (rows.empty()) return "";
  std::string head;
  for (size_t i = 0; i < runs.size(); ++i) {
    head += "<th scope=\"col\" class=\"value\"><b class=\"" + color_of(i) + "\">" +
            escape_html(runs[i].name) + "</b></th>";
  }
  return heading(2, "What differs in the configuration") +
         "<table><thead><tr><th scope=\"col\">option</th>" + head + "</tr></thead>\n" + rows +
         "</table>\n";
}

using Lines = std::vector<MetricsLine>;

/// One curve a run, over its training steps.
std::vector<ChartCurve> curves(const std::vector<ReportRun>& runs, double MetricsLine::*value,
                               bool late = false) {
  std::vector<ChartCurve> all;
  for (size_t i = 0; i < runs.size(); ++i) {
    const Lines& lines = runs[i].metrics;
    ChartCurve curve{runs[i].name, color_of(i), points_of(lines, value), stroke_of(i)};
    if (late) {
      std::erase_if(curve.points, [&](const ChartPoint& point) {
        return point.x < (lines.front().step + lines.back().step) / 2;
      });
    }
    all.push_back(std::move(curve));
  }
  return all;
}

/// What is missing in the cross-entropies, and in whose.
std::string ce_notes(const std::vector<ReportRun>& runs) {
  std::string notes;
  for (const ReportRun& run : runs) {
    const std::string note = ce_note(run);
    if (!note.empty()) notes += (notes.empty() ? "" : ". ") + run.name + ": " + note;
  }
  return notes;
}

/// A chart for each kind of divergence that runs had: two of them are not to be compared.
std::string divergence_charts(const std::vector<ReportRun>& runs) {
  const std::vector<ChartCurve> all = curves(runs, &MetricsLine::kl);
  std::vector<std::pair<DivergenceWords, std::vector<ChartCurve>>> kinds;
  for (size_t i = 0; i < runs.size(); ++i) {
    const bool distilled = std::any_of(all[i].points.begin(), all[i].points.end(),
                                       [](const ChartPoint& point) { return point.y > 0; });
    if (!distilled) continue;  // hard labels
    const DivergenceWords words = divergence_of(runs[i]);
    auto kind = std::find_if(kinds.begin(), kinds.end(),
                             [&](const auto& each) { return each.first.kind == words.kind; });
    if (kind == kinds.end()) kind = kinds.insert(kind, {words, {}});
    kind->second.push_back(all[i]);
    const std::string beta = runs[i].option("loss", "beta");
    if (words.has_beta && !beta.empty()) kind->second.back().name += ", β = " + beta;
  }
  std::string figures;
  for (const auto& [words, own] : kinds) {
    figures +=
        draw(LineChart{words.title, "at each run's training temperature, without " + words.factor,
                       words.unit, own, /*from_zero=*/true});
  }
  return figures;
}

LineChart likelihood(const std::vector<ReportRun>& runs) {
  LineChart chart{
      "NLL over the temperature", "the fits are marked", "nats per token, fit part", {}};
  chart.x_name = "temperature T, logarithmic";
  chart.log_x = true;
  for (size_t i = 0; i < runs.size(); ++i) {
    const auto& results = runs[i].results;
    const auto found = std::find_if(results.begin(), results.end(), is_run_model);
    if (found == results.end() || found->nll_curve.empty()) continue;
    chart.curves.push_back({runs[i].name, color_of(i), found->nll_curve, stroke_of(i)});
    chart.marks.push_back({found->temperature, found->fit_nll, color_of(i)});
  }
  return chart;
}

std::string figures_section(const std::vector<ReportRun>& runs) {
  const std::string ce = ce_notes(runs);
  const bool nats = std::all_of(runs.begin(), runs.end(), [](const ReportRun& run) {
    return divergence_of(run).in_nats() && !matches_hidden(run);
  });
  std::string figures =
      draw(LineChart{"Loss", "comparable where loss.* and T are the same",
                     nats ? "nats per token" : "per token", curves(runs, &MetricsLine::loss)}) +
      draw(LineChart{"Cross-entropy on the training text", ce, "nats per token",
                     curves(runs, &MetricsLine::ce)});
  LineChart close{"The same, second half, smoothed", ce, "nats per token",
                  curves(runs, &MetricsLine::ce, /*late=*/true)};
  close.most_buckets = 40;
  close.bands = false;
  figures += draw(close) + divergence_charts(runs);
  figures += draw(LineChart{"Learning rate", "", "learning rate, per step",
                            curves(runs, &MetricsLine::lr), /*from_zero=*/true}) +
             draw(LineChart{"Speed", "", "tokens per second",
                            curves(runs, &MetricsLine::tokens_per_s), /*from_zero=*/true}) +
             draw(likelihood(runs));
  if (figures.empty()) return "";
  return heading(2, "Curves of the runs' students and models") + "<div class=\"grid\">\n" +
         figures + "</div>\n";
}

}  // namespace

std::string describe_comparison(const std::vector<ReportRun>& runs) {
  std::string html = "Each run by itself:";
  for (size_t i = 0; i < runs.size(); ++i) {
    html += format("%s<a href=\"#run-%zu\">", i == 0 ? " " : ", ", i + 1) +
            escape_html(runs[i].name) + "</a>";
  }
  return html;
}

std::string comparison_sections(const std::vector<ReportRun>& runs) {
  return results_table(runs) + figures_section(runs) + differences_table(runs);
}

}  // namespace temper
