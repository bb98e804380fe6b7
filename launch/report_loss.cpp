#include "launch/report_loss.h"

#include <algorithm>
#include <cstdlib>

namespace temper {

namespace {

constexpr const char* kNats = "nats per token";

/// A number of the section [loss]; `usual` where config.ini does not say it.
double loss_option(const ReportRun& run, const std::string& key, double usual) {
  const std::string text = run.option("loss", key);
  return text.empty() ? usual : std::strtod(text.c_str(), nullptr);
}

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

bool matches_hidden(const ReportRun& run) { return loss_option(run, "hidden-weight", 0) != 0; }

std::string loss_formula(const ReportRun& run) {
  const DivergenceWords divergence = divergence_of(run);
  const bool smoothed = loss_option(run, "label-smoothing", 0) != 0;
  const bool tempered = loss_option(run, "hard-temperature", 1) != 1;
  const bool rescaled = tempered && run.option("loss", "hard-rescale") != "false";
  std::string text = "loss = α·" + divergence.factor + "·" + divergence.name + " + (1 − α)·";
  std::string numbers, words;
  const auto add = [&](const char* name, const std::string& value) {
    if (!value.empty()) numbers += (numbers.empty() ? ", here " : ", ") + (name + (" = " + value));
  };
  const auto say = [&](const std::string& more) { words += "; " + more; };
  add("α", run.option("loss", "alpha"));
  add("T", run.option("teacher", "temperature"));
  if (divergence.has_beta) add("β", run.option("loss", "beta"));

  text += std::string(rescaled ? "τ·" : "") + (smoothed || tempered ? "CE′" : "CE");
  if (smoothed) add("ε", run.option("loss", "label-smoothing"));
  if (tempered) add("τ", run.option("loss", "hard-temperature"));
  if (smoothed || tempered) {
    say(std::string("CE′: ") + (smoothed ? "of labels smoothed by ε" : "") +
        (smoothed && tempered ? ", " : "") + (tempered ? "at the temperature τ" : "") +
        ", while the curve CE is that of the labels themselves at T = 1");
  }
  if (matches_hidden(run)) {
    text += " + γ·hidden";
    add("γ", run.option("loss", "hidden-weight"));
    say(run.option("loss", "hidden-kind") == "mse"
            ? "hidden: the mean squared difference of the hidden states"
            : "hidden: 1 − cosine of the hidden states");
  }
  if (loss_option(run, "confidence-penalty", 0) != 0) {
    text += " − c·H";
    add("c", run.option("loss", "confidence-penalty"));
    say("H, the entropy of the student's distribution, is not drawn");
  }
  if (loss_option(run, "z-loss", 0) != 0) {
    text += " + λ·(log Z)²";
    add("λ", run.option("loss", "z-loss"));
    say("Z, the denominator of the student's softmax, is not drawn");
  }
  if (run.option("loss", "token-weighting") == "true") {
    say(std::string(matches_hidden(run) ? "all terms but hidden" : "all terms") +
        " weigh tokens by their entropy (loss.token-weighting), the curves of the parts do not");
  }
  if (writes_itself(run)) say("on the student's own text α = 1, and there is no CE");
  return text + numbers + words;
}

std::string loss_unit(const ReportRun& run) {
  const DivergenceWords divergence = divergence_of(run);
  std::string text = kNats;
  if (!divergence.in_nats()) text += "; " + divergence.name + ": " + divergence.unit;
  if (matches_hidden(run)) {
    text += run.option("loss", "hidden-kind") == "mse" ? "; hidden: mean square"
                                                       : "; hidden: 1 − cosine";
  }
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
