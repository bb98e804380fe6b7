#include "launch/report_loss.h"

#include <algorithm>
#include <cstdlib>

namespace temper {

namespace {

constexpr const char* kNats = "nats per token";

bool writes_itself(const ReportRun& run) {
  return std::any_of(run.metrics.begin(), run.metrics.end(),
                     [](const MetricsLine& line) { return line.on_policy; });
}

}  // namespace

bool DivergenceWords::in_nats() const { return unit == kNats; }

DivergenceWords divergence_of(const ReportRun& run) {
  const std::string kind = run.option("loss", "kind");
  if (kind.empty() || kind == "forward-kl")
    return {"forward-kl", "KL(teacher ‖ student)", "KL to the teacher", "T²", kNats};
  if (kind == "reverse-kl")
    return {kind, "KL(student ‖ teacher)", "Reverse KL to the teacher", "T²", kNats};
  if (kind == "jsd") {
    return {kind,
            "JSD",
            "Jensen-Shannon divergence to the teacher",
            "T²",
            kNats,
            /*has_beta=*/true};
  }
  if (kind == "mixed") {
    return {kind,
            "mixed KL",
            "Mixture of KL and reverse KL to the teacher",
            "T²",
            kNats,
            /*has_beta=*/true};
  }
  if (kind == "tvd")
    return {kind, "TVD", "Total variation distance to the teacher", "T", "a share, 0 to 1"};
  return {kind, kind, kind + " to the teacher", "its factor of T", "in its unit"};
}

std::string loss_formula(const ReportRun& run) {
  const DivergenceWords divergence = divergence_of(run);
  std::string text = "loss = α·" + divergence.factor + "·" + divergence.name + " + (1 − α)·CE",
              numbers;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) numbers += (numbers.empty() ? ", here " : ", ") + (name + (" = " + value));
  };
  add("α", run.option("loss", "alpha"));
  add("T", run.option("teacher", "temperature"));
  if (divergence.has_beta) add("β", run.option("loss", "beta"));
  text += numbers;
  if (writes_itself(run)) text += "; on the student's own text α = 1, and there is no CE";
  return text;
}

std::vector<ChartPoint> points_of(const std::vector<MetricsLine>& lines,
                                  double MetricsLine::*value) {
  std::vector<ChartPoint> points;
  points.reserve(lines.size());
  for (const MetricsLine& line : lines) {
    if (!line.on_policy || value != &MetricsLine::ce) points.push_back({line.step, line.*value});
  }
  return points;
}

std::string ce_note(const ReportRun& run) {
  std::string note;
  const auto add = [&](const std::string& words) { note += (note.empty() ? "" : "; ") + words; };
  if (writes_itself(run)) add("steps on the student's own text are left out");
  if (run.option("train", "completion-only") == "true")
    add("of the tokens behind the prompt alone (train.completion-only)");
  const std::string share = run.option("loss", "token-share");
  // Hard labels are learnt from all tokens.
  if (!share.empty() && std::strtod(share.c_str(), nullptr) < 1)
    add("of the distilled student over the chosen tokens alone (loss.token-share " + share + ")");
  return note;
}

}  // namespace temper
