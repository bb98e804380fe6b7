// A run folder as its report needs it. Unlike result_from_json(), reading here is lenient: a number
// that is missing or null (JSON has no NaN) becomes NaN and is drawn as a gap, since a report is
// wanted most of runs that went wrong.
#pragma once

#include <cmath>
#include <string>
#include <vector>

#include "launch/report_chart.h"
#include "launch/report_diagrams.h"

namespace temper {

/// A line of metrics.jsonl; NaN where a field is missing.
struct MetricsLine {
  double step = NAN;
  double loss = NAN, ce = NAN;  ///< nats per token
  double kl = NAN;              ///< of loss.kind, without its factor of T: report_loss.h
  double hidden = NAN;          ///< of loss.hidden-kind, without its weight
  bool on_policy = false;       ///< the student wrote the rows, and ce is of its own tokens
  double grad_norm = NAN, lr = NAN;
  double tokens_per_s = NAN;
  double wait_teacher = NAN, wait_student = NAN;  ///< shares of the step
  double bytes_per_token = NAN;
  double temperature = NAN, alpha = NAN, beta = NAN;  ///< where they follow a schedule
};

/// What the summary says of a model on the test part at one temperature; NaN where missing.
struct ReportMetrics {
  double nll = NAN, accuracy = NAN, ece = NAN, ece_equal_mass = NAN, brier = NAN, tokens = NAN;
  double exact_kl = NAN, exact_ece = NAN;  ///< where the true distribution is known
  std::vector<ReliabilityBin> bins;
};

struct ReportResult {
  std::string name;
  double seed = NAN, parameters = NAN, temperature = NAN;
  bool undetermined = false;          ///< the fit part does not determine the temperature
  ReportMetrics before, after;        ///< test part
  double fit_nll = NAN;               ///< fit part, at the fitted temperature
  std::vector<ChartPoint> nll_curve;  ///< fit part: NLL over T; empty where it was not measured
};

struct ReportRun {
  std::string name;    ///< the folder's
  std::string config;  ///< config.ini
  std::vector<MetricsLine> metrics, hard_labels, teacher;
  std::vector<ReportResult> results;
  double entropy_floor = NAN, entropy_rate = NAN, entropy_rate_error = NAN;  ///< nats per token
  double seconds = NAN, tokens_per_s = NAN, wait_teacher = NAN, wait_student = NAN;
  double bytes_per_token = NAN;

  /// "distill" from the first line of config.ini; empty if it does not say.
  std::string command() const;
  /// The value of `key` in [`section`] of config.ini; empty if it is not there.
  std::string option(const std::string& section, const std::string& key) const;
  /// Whether the soft targets came from a store, and no teacher ran.
  bool replays() const { return !option("teacher", "store").empty(); }
};

/// Whether a model of the run was measured against the true distribution of its corpus.
bool knows_truth(const ReportRun& run);

/// Reads what is there. A last line of metrics that was cut off (the run was killed) is left out.
/// Throws c10::ValueError if the folder holds neither config.ini nor metrics.jsonl nor
/// summary.json, or a file is no JSON.
ReportRun read_run(const std::string& run_dir);

}  // namespace temper
