// What the numbers of a run's loss are: which divergence `kl` is, with its factor and unit, and of
// which tokens `ce` is the mean. A report must not draw different quantities as if they were one.
#pragma once

#include <string>
#include <vector>

#include "launch/report_chart.h"
#include "launch/report_run.h"

namespace temper {

/// The number `kl` of a run's metrics.jsonl, for a person.
struct DivergenceWords {
  std::string kind;    ///< loss.kind
  std::string name;    ///< in formulas and legends
  std::string title;   ///< of its own chart
  std::string factor;  ///< in the loss: temperature_factor() of student/divergence.h
  std::string unit;
  bool has_beta = false;

  bool in_nats() const;
};

/// As loss.kind of the run's config.ini says; forward-kl, the default, where it does not.
DivergenceWords divergence_of(const ReportRun& run);

/// Whether hidden states were matched, so that metrics.jsonl has `hidden`.
bool matches_hidden(const ReportRun& run);

/// The loss with all terms that the run's options ask for (student/loss.h, label_loss.h and
/// hidden_match.h), the run's own numbers, and what metrics.jsonl does not have of them.
std::string loss_formula(const ReportRun& run);

/// The unit of the loss, and of those parts that have another.
std::string loss_unit(const ReportRun& run);

/// A value over the steps. Steps on the student's own text have no ce: nobody has labelled it.
std::vector<ChartPoint> points_of(const std::vector<MetricsLine>& lines,
                                  double MetricsLine::*value);

/// What is missing in the run's ce, for the note of a chart; empty: nothing.
std::string ce_note(const ReportRun& run);

}  // namespace temper
