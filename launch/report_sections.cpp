#include "launch/report_sections.h"

#include <algorithm>
#include <cstdio>
#include <functional>
#include <utility>

#include "launch/progress.h"
#include "launch/report_chart.h"
#include "launch/report_diagrams.h"
#include "launch/report_loss.h"
#include "launch/report_svg.h"

namespace temper {

namespace {

using Lines = std::vector<MetricsLine>;

// Names that distill and train give to their results; the curves wear the same colours.
std::string color_of(const std::string& name) {
  if (name == "student, hard labels") return "c2";
  if (name == "teacher") return "c3";
  return name == "student, distilled" || name == "model" ? "c1" : "c4";
}

bool any_but_zero(const Lines& lines, double MetricsLine::*value) {
  return std::any_of(lines.begin(), lines.end(), [&](const MetricsLine& line) {
    return line.*value != 0 && std::isfinite(line.*value);
  });
}

bool learns_from_teacher(const ReportRun& run) {
  return any_but_zero(run.metrics, &MetricsLine::kl) ||
         any_but_zero(run.metrics, &MetricsLine::hidden);
}

// ---- results ----

/// A number of each seed as one text: the mean and, where there are several seeds, largest minus
/// smallest.
std::string over_seeds(const std::vector<const ReportResult*>& group,
                       const std::function<double(const ReportResult&)>& get, const char* pattern,
                       double unit) {
  double low = INFINITY, high = -INFINITY, sum = 0;
  for (const ReportResult* result : group) {
    const double value = unit * get(*result);
    if (!std::isfinite(value)) return "–";
    low = std::min(low, value);
    high = std::max(high, value);
    sum += value;
  }
  const auto text = [pattern](double value) {
    char buffer[64];
    std::snprintf(buffer, sizeof buffer, pattern, value);
    return std::string(buffer);
  };
  std::string cell = text(sum / static_cast<double>(group.size()));
  if (group.size() > 1) cell += "<small>spread " + text(high - low) + "</small>";
  return cell;
}

std::string cell(const char* name, const std::string& content) {
  return std::string("<td data-name=\"") + name + "\">" + content + "</td>";
}

/// A column of the results: a metric before and after calibration.
struct Column {
  const char* name;
  double ReportMetrics::*value;
  const char* pattern;
  double unit;
};

/// `exact`: the true distribution is known.
std::vector<Column> columns_of(bool exact) {
  std::vector<Column> columns = {{"NLL", &ReportMetrics::nll, "%.4f", 1},
                                 {"accuracy", &ReportMetrics::accuracy, "%.2f%%", 100},
                                 {"ECE", &ReportMetrics::ece, "%.2f%%", 100},
                                 {"ECE, equal mass", &ReportMetrics::ece_equal_mass, "%.2f%%", 100},
                                 {"Brier", &ReportMetrics::brier, "%.4f", 1}};
  if (exact) {
    columns.push_back({"KL to the truth", &ReportMetrics::exact_kl, "%.4f", 1});
    columns.push_back({"ECE, exact", &ReportMetrics::exact_ece, "%.2f%%", 100});
  }
  return columns;
}

std::string result_rows(const std::string& name, const std::vector<const ReportResult*>& group,
                        const std::vector<Column>& columns) {
  using R = const ReportResult&;
  const auto count = static_cast<int>(group.size());
  const double weights = group.front()->parameters;
  const bool undetermined = std::any_of(group.begin(), group.end(),
                                        [](const ReportResult* r) { return r->undetermined; });
  const auto cells = [&](ReportMetrics ReportResult::*metrics) {
    std::string html;
    for (const Column& column : columns) {
      html += cell(column.name, over_seeds(
                                    group, [&](R r) { return r.*metrics.*column.value; },
                                    column.pattern, column.unit));
    }
    return html;
  };
  std::string html = "<tbody><tr><th rowspan=\"2\" scope=\"rowgroup\"><b class=\"" +
                     color_of(name) + "\">" + escape_html(name) + "</b>";
  if (count > 1) html += format("<small>%d seeds</small>", count);
  html += "</th><td rowspan=\"2\" class=\"weights\" data-name=\"weights\">" +
          (std::isfinite(weights) ? count_text(weights) : "–") + "</td>";
  html +=
      "<td class=\"stage\">before calibration</td>" + cell("T", "1") + cells(&ReportResult::before);
  html += "</tr>\n<tr><td class=\"stage\">after</td>";
  html += cell("T", over_seeds(
                        group, [](R r) { return r.temperature; }, "%.4f", 1) +
                        (undetermined ? "<small>not determined</small>" : "")) +
          cells(&ReportResult::after);
  return html + "</tr></tbody>\n";
}

std::string results_section(const ReportRun& run, int level) {
  std::vector<std::pair<std::string, std::vector<const ReportResult*>>> groups;
  bool several = false;
  for (const ReportResult& result : run.results) {
    const auto same = std::find_if(groups.begin(), groups.end(),
                                   [&](const auto& group) { return group.first == result.name; });
    if (same == groups.end()) {
      groups.push_back({result.name, {&result}});
    } else {
      same->second.push_back(&result);
      several = true;
    }
  }
  if (groups.empty()) return "";
  std::string html = heading(level, "Results on the test part") +
                     "<table><thead><tr><th scope=\"col\">model</th><th "
                     "scope=\"col\">weights</th><th></th>";
  const bool exact = knows_truth(run);
  const std::vector<Column> columns = columns_of(exact);
  html += "<th scope=\"col\">T</th>";
  for (const Column& column : columns)
    html += std::string("<th scope=\"col\">") + column.name + "</th>";
  html += "</tr></thead>\n";
  for (const auto& [name, group] : groups) html += result_rows(name, group, columns);
  if (std::isfinite(run.entropy_floor)) {
    html +=
        "<tbody><tr><th scope=\"row\"><b>entropy floor</b></th><td class=\"none\"></td><td "
        "class=\"none\"></td><td class=\"none\"></td>" +
        cell("NLL", format("%.4f", run.entropy_floor)) +
        format("<td class=\"none\" colspan=\"%zu\"></td></tr></tbody>\n", columns.size() - 1);
  }
  html += "</table>\n<p><small>";
  const double tokens = run.results.front().before.tokens;
  if (std::isfinite(tokens)) html += count_text(tokens) + " tokens. ";
  html +=
      "NLL in nats per token; ECE: expected calibration error over 15 bins; T: the temperature, "
      "fitted on the fit part, that logits "
      "are divided by.";
  if (exact) html += " KL to the truth and exact ECE: against the language's own distribution.";
  if (several)
    html += " Values are means over the seeds; the spread is the largest minus the smallest.";
  if (std::isfinite(run.entropy_rate)) {
    html += format(" The language's entropy rate is %.4f", run.entropy_rate);
    if (std::isfinite(run.entropy_rate_error))
      html += format(" ± %.4f (standard error)", run.entropy_rate_error);
    html += " nats per token.";
  }
  return html + "</small></p>\n";
}

bool several_seeds(const ReportRun& run, const ReportResult& result) {
  return std::count_if(run.results.begin(), run.results.end(),
                       [&](const ReportResult& r) { return r.name == result.name; }) > 1;
}

/// The first seed of each name.
std::vector<const ReportResult*> first_results(const ReportRun& run) {
  std::vector<const ReportResult*> first;
  for (const ReportResult& result : run.results) {
    const bool seen = std::any_of(first.begin(), first.end(), [&](const ReportResult* earlier) {
      return earlier->name == result.name;
    });
    if (!seen) first.push_back(&result);
  }
  return first;
}

std::string calibration_section(const ReportRun& run, int level) {
  LineChart likelihood{"NLL over the temperature", "", "nats per token, fit part", {}};
  likelihood.x_name = "temperature T, logarithmic";
  likelihood.log_x = true;
  std::string reliability, histograms;
  for (const ReportResult* result : first_results(run)) {
    std::string note;
    if (std::isfinite(result->before.ece) && std::isfinite(result->after.ece)) {
      note = format("ECE %.2f%% → %.2f%%", 100 * result->before.ece, 100 * result->after.ece);
      if (std::isfinite(result->temperature)) note += format(" at T = %.4f", result->temperature);
    }
    const std::string seed = several_seeds(run, *result) && std::isfinite(result->seed)
                                 ? format(", seed %.0f", result->seed)
                                 : "";
    const std::string color = color_of(result->name);
    const ReliabilityDiagram diagram{result->name + seed, note, color, result->before.bins,
                                     result->after.bins};
    reliability += draw(diagram);
    histograms += draw_histogram(diagram);
    if (result->nll_curve.empty()) continue;
    likelihood.curves.push_back(
        {result->name + seed, color, result->nll_curve, color == "c2" ? "dashed" : ""});
    likelihood.marks.push_back({result->temperature, result->fit_nll, color});
    likelihood.note += (likelihood.note.empty() ? "the fit is marked: " : ", ") +
                       format("T = %.4f", result->temperature) +
                       (result->undetermined ? " (not determined)" : "");
  }
  const std::string figures = reliability + histograms + draw(likelihood);
  if (figures.empty()) return "";
  return heading(level, "Calibration") +
         "<p class=\"soft\">Reliability: how often the most likely token is right, over how sure "
         "the model is of it. On the dotted line confidence is honest; below it the model is too "
         "sure.</p>\n<div class=\"grid\">\n" +
         figures + "</div>\n";
}

// ---- training ----

ChartCurve curve(const std::string& name, const std::string& color, const Lines& lines,
                 double MetricsLine::*value) {
  return {name, color, points_of(lines, value), color == "c2" ? "dashed" : ""};
}

bool any_above_zero(const Lines& lines, double MetricsLine::*value) {
  return std::any_of(lines.begin(), lines.end(),
                     [&](const MetricsLine& line) { return line.*value > 0; });
}

/// The second half of a run, where curves lie close together.
Lines late(const Lines& lines) {
  Lines half;
  if (lines.size() < 40) return half;
  const double middle = lines.front().step + (lines.back().step - lines.front().step) / 2;
  std::copy_if(lines.begin(), lines.end(), std::back_inserter(half),
               [&](const MetricsLine& line) { return line.step >= middle; });
  return half;
}

/// The chart of a setting that follows a schedule; empty where it is constant or not known.
std::string draw_schedule(const std::string& title, const std::string& y_name,
                          const std::string& name, const Lines& lines, double MetricsLine::*value) {
  double low = INFINITY, high = -INFINITY;
  for (const MetricsLine& line : lines) {
    if (!std::isfinite(line.*value)) continue;
    low = std::min(low, line.*value);
    high = std::max(high, line.*value);
  }
  if (!(low < high)) return "";
  return draw(LineChart{title, "", y_name, {curve(name, "c1", lines, value)}, /*from_zero=*/true});
}

std::string training_section(const ReportRun& run, int level) {
  const bool distilled = learns_from_teacher(run), replays = run.replays();
  const std::string name = distilled ? "distilled" : "model";
  const auto all = [&](double MetricsLine::*value) {
    return std::vector<ChartCurve>{curve(name, "c1", run.metrics, value),
                                   curve("hard labels", "c2", run.hard_labels, value)};
  };
  const auto with_teacher = [&](double MetricsLine::*value) {
    std::vector<ChartCurve> curves = all(value);
    curves.push_back(curve("teacher", "c3", run.teacher, value));
    return curves;
  };
  std::string figures;
  if (distilled) {
    const DivergenceWords divergence = divergence_of(run);
    std::vector<ChartCurve> parts{curve("loss", "c1", run.metrics, &MetricsLine::loss)};
    // With alpha 0 nobody works it out.
    if (any_but_zero(run.metrics, &MetricsLine::kl))
      parts.push_back(curve(divergence.name, "c4", run.metrics, &MetricsLine::kl));
    parts.push_back(curve("CE", "c5", run.metrics, &MetricsLine::ce));
    if (matches_hidden(run))
      parts.push_back(curve("hidden", "c3", run.metrics, &MetricsLine::hidden));
    figures += draw(LineChart{"Distillation: the loss and its parts", loss_formula(run),
                              loss_unit(run), parts, /*from_zero=*/true});
  }
  figures += draw(LineChart{"Cross-entropy on the training text", ce_note(run), "nats per token",
                            all(&MetricsLine::ce)});
  if (!run.metrics.empty() && !run.hard_labels.empty()) {
    LineChart close{"The same, second half, smoothed",
                    ce_note(run),
                    "nats per token",
                    {curve(name, "c1", late(run.metrics), &MetricsLine::ce),
                     curve("hard labels", "c2", late(run.hard_labels), &MetricsLine::ce)}};
    close.most_buckets = 40;
    close.bands = false;
    figures += draw(close);
  }
  figures += draw(LineChart{"The teacher's training",
                            "",
                            "nats per token",
                            {curve("loss", "c3", run.teacher, &MetricsLine::loss)}});
  figures += draw(LineChart{
      "Learning rate",
      run.hard_labels.empty() ? "" : "the student on hard labels has that of the distilled one",
      "learning rate, per step",
      {curve(name, "c1", run.metrics, &MetricsLine::lr),
       curve("teacher", "c3", run.teacher, &MetricsLine::lr)},
      /*from_zero=*/true});
  figures += draw_schedule("Training temperature", "T of the soft targets", name, run.metrics,
                           &MetricsLine::temperature);
  figures += draw_schedule("Weight of the soft targets", "α, share of the loss", name, run.metrics,
                           &MetricsLine::alpha);
  figures += draw_schedule("The divergence's mixture", "β", name, run.metrics, &MetricsLine::beta);
  figures += draw(LineChart{"Norm of the gradient, before clipping", "", "L2 norm, nats per token",
                            with_teacher(&MetricsLine::grad_norm), /*from_zero=*/true});
  figures += draw(LineChart{"Speed", "", "tokens per second",
                            with_teacher(&MetricsLine::tokens_per_s), /*from_zero=*/true});
  if (any_above_zero(run.metrics, &MetricsLine::wait_teacher) ||
      any_above_zero(run.metrics, &MetricsLine::wait_student)) {
    std::vector<ChartCurve> waits{
        curve(replays ? "students for the store" : "students for teachers", "c1", run.metrics,
              &MetricsLine::wait_teacher)};
    if (!replays)
      waits.push_back(
          curve("teachers for students", "c3", run.metrics, &MetricsLine::wait_student));
    figures += draw(
        LineChart{"Waiting", "", "share of the step", waits, /*from_zero=*/true, /*percent=*/true});
  }
  if (any_above_zero(run.metrics, &MetricsLine::bytes_per_token)) {
    figures +=
        draw(LineChart{replays ? "Soft targets read from the store" : "Soft targets on the wire",
                       "",
                       "bytes per token",
                       {curve("distilled", "c1", run.metrics, &MetricsLine::bytes_per_token)},
                       /*from_zero=*/true});
  }
  if (figures.empty()) return "";
  return heading(level, "Training") +
         "<p class=\"soft\">Long curves show the mean of neighbouring steps; "
         "the band is their range.</p>\n"
         "<div class=\"grid\">\n" +
         figures + "</div>\n";
}

std::string key_figures(const ReportRun& run) {
  std::string html;
  const auto add = [&html](const char* name, double value, const std::string& text) {
    if (std::isfinite(value))
      html += std::string("<div><dt>") + name + "</dt><dd>" + text + "</dd></div>";
  };
  add("training took", run.seconds, duration_text(run.seconds));
  add("tokens per second", run.tokens_per_s, count_text(run.tokens_per_s));
  if (run.bytes_per_token > 0) {
    const bool replays = run.replays();
    add(replays ? "students waited for the store" : "students waited for teachers",
        run.wait_teacher, format("%.0f%%", 100 * run.wait_teacher));
    if (!replays)
      add("teachers waited for students", run.wait_student,
          format("%.0f%%", 100 * run.wait_student));
    add(replays ? "bytes per token read from the store" : "bytes per token on the wire",
        run.bytes_per_token, format("%.0f", run.bytes_per_token));
  }
  return html.empty() ? "" : "<dl>" + html + "</dl>\n";
}

}  // namespace

std::string heading(int level, const std::string& text) {
  return format("<h%d>", level) + text + format("</h%d>\n", level);
}

std::string describe_run(const ReportRun& run) {
  const std::string seed = run.option("run", "seed");
  std::string kind = "Report of a temper run";
  if (!run.command().empty()) kind = "temper " + escape_html(run.command());
  if (!seed.empty()) kind += ", seed " + escape_html(seed);
  return kind;
}

std::string run_sections(const ReportRun& run, int level) {
  std::string html = key_figures(run) + results_section(run, level) +
                     calibration_section(run, level) + training_section(run, level);
  if (!run.config.empty()) {
    html += "<details><summary>Configuration</summary>\n<pre>" + escape_html(run.config) +
            "</pre></details>\n";
  }
  return html;
}

}  // namespace temper
