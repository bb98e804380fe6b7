#include "launch/report_run.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "data/json_input.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kMaxSummaryBytes = 64 << 20;

/// The file's text; empty if it is not there.
std::string text_of(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

const nlohmann::json& field(const nlohmann::json& json, const char* key) {
  static const nlohmann::json nothing;
  if (!json.is_object()) return nothing;
  const auto found = json.find(key);
  return found == json.end() ? nothing : *found;
}

double number(const nlohmann::json& json, const char* key) {
  const nlohmann::json& value = field(json, key);
  return value.is_number() ? value.get<double>() : NAN;
}

std::vector<MetricsLine> read_metrics(const fs::path& path) {
  std::ifstream file(path);
  std::vector<MetricsLine> lines;
  std::string text;
  for (int64_t count = 1; std::getline(file, text); ++count) {
    if (text.find_first_not_of(" \t\r") == std::string::npos) continue;
    nlohmann::json json;
    try {
      json = parse_json(text, path.string() + ", line " + std::to_string(count));
    } catch (const c10::ValueError& error) {
      if (file.eof() || file.peek() == std::ifstream::traits_type::eof()) break;
      TORCH_CHECK_VALUE(false, error.what_without_backtrace(), "; remove it, or run again");
    }
    MetricsLine line;
    line.step = number(json, "step");
    if (!std::isfinite(line.step)) continue;
    line.loss = number(json, "loss");
    line.kl = number(json, "kl");
    line.ce = number(json, "ce");
    line.hidden = number(json, "hidden");
    line.on_policy = field(json, "on_policy") == nlohmann::json(true);
    line.grad_norm = number(json, "grad_norm");
    line.lr = number(json, "lr");
    line.tokens_per_s = number(json, "tokens_per_s");
    line.wait_teacher = number(json, "wait_teacher");
    line.wait_student = number(json, "wait_student");
    line.bytes_per_token = number(json, "bytes_per_token");
    line.temperature = number(json, "temperature");
    line.alpha = number(json, "alpha");
    line.beta = number(json, "beta");
    lines.push_back(line);
  }
  return lines;
}

ReportMetrics read_metrics(const nlohmann::json& json) {
  ReportMetrics metrics;
  metrics.nll = number(json, "nll");
  metrics.accuracy = number(json, "accuracy");
  metrics.ece = number(json, "ece");
  metrics.ece_equal_mass = number(json, "ece_equal_mass");
  metrics.brier = number(json, "brier");
  metrics.exact_kl = number(field(json, "exact"), "kl");
  metrics.exact_ece = number(field(json, "exact"), "ece");
  metrics.tokens = number(json, "tokens");
  const nlohmann::json& bins = field(json, "bins");
  if (!bins.is_array()) return metrics;
  for (const nlohmann::json& bin : bins) {
    metrics.bins.push_back(
        {number(bin, "tokens"), number(bin, "confidence"), number(bin, "accuracy")});
  }
  return metrics;
}

ReportResult read_result(const nlohmann::json& json) {
  ReportResult result;
  const nlohmann::json& name = field(json, "name");
  result.name = name.is_string() ? name.get<std::string>() : "model";
  result.seed = number(json, "seed");
  result.parameters = number(json, "parameters");
  result.temperature = number(json, "temperature");
  result.undetermined = field(json, "undetermined") == nlohmann::json(true);
  const nlohmann::json& fit = field(json, "fit");
  result.fit_nll = number(field(fit, "after"), "nll");
  const nlohmann::json& curve = field(fit, "nll_curve");
  if (curve.is_array()) {
    for (const nlohmann::json& point : curve) {
      const ChartPoint at{number(point, "temperature"), number(point, "nll")};
      if (at.x > 0 && std::isfinite(at.x)) result.nll_curve.push_back(at);
    }
  }
  const nlohmann::json& test = field(json, "test");
  result.before = read_metrics(field(test, "before"));
  result.after = read_metrics(field(test, "after"));
  return result;
}

void read_summary(const fs::path& path, ReportRun& run) {
  const nlohmann::json json = read_json_file(path.string(), kMaxSummaryBytes);
  const nlohmann::json& results = field(json, "results");
  if (results.is_array()) {
    for (const nlohmann::json& result : results) run.results.push_back(read_result(result));
  } else if (field(json, "test").is_object()) {  // temper train: one result at top level
    run.results.push_back(read_result(json));
  }
  run.entropy_floor = number(json, "entropy_floor");
  run.entropy_rate = number(field(json, "entropy_rate"), "nats_per_token");
  run.entropy_rate_error = number(field(json, "entropy_rate"), "standard_error");
  const nlohmann::json& training =
      field(json, "training").is_object() ? field(json, "training") : json;
  run.seconds = number(training, "seconds");
  run.tokens_per_s = number(training, "tokens_per_s");
  run.wait_teacher = number(training, "wait_teacher");
  run.wait_student = number(training, "wait_student");
  run.bytes_per_token = number(training, "bytes_per_token");
}

}  // namespace

std::string ReportRun::command() const {
  const std::string head = "# temper ";
  if (config.rfind(head, 0) != 0) return "";
  return config.substr(head.size(), config.find_first_of(":\n", head.size()) - head.size());
}

std::string ReportRun::option(const std::string& section, const std::string& key) const {
  std::istringstream lines(config);
  bool inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind('[', 0) == 0) inside = line == "[" + section + "]";
    if (inside && line.rfind(key + " = ", 0) == 0) return line.substr(key.size() + 3);
  }
  return "";
}

bool knows_truth(const ReportRun& run) {
  return std::any_of(run.results.begin(), run.results.end(), [](const ReportResult& result) {
    return std::isfinite(result.before.exact_kl);
  });
}

ReportRun read_run(const std::string& run_dir) {
  const fs::path dir(run_dir);
  TORCH_CHECK_VALUE(fs::exists(dir / "config.ini") || fs::exists(dir / "metrics.jsonl") ||
                        fs::exists(dir / "summary.json"),
                    run_dir,
                    ": no run folder (no config.ini, metrics.jsonl or summary.json); name a folder "
                    "that 'temper train' or 'temper distill' wrote");
  ReportRun run;
  const fs::path whole = fs::weakly_canonical(dir);
  run.name =
      whole.has_filename() ? whole.filename().string() : whole.parent_path().filename().string();
  run.config = text_of(dir / "config.ini");
  run.metrics = read_metrics(dir / "metrics.jsonl");
  run.hard_labels = read_metrics(dir / "hard-labels-metrics.jsonl");
  run.teacher = read_metrics(dir / "teacher-metrics.jsonl");
  if (fs::exists(dir / "summary.json")) read_summary(dir / "summary.json", run);
  return run;
}

}  // namespace temper
