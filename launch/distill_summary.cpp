#include "launch/distill_summary.h"

#include <algorithm>
#include <cmath>

#include "launch/progress.h"

namespace temper {

bool DistillSummary::replays() const {
  return std::none_of(results.begin(), results.end(),
                      [](const ModelResult& result) { return result.name == "teacher"; });
}

nlohmann::ordered_json to_json(const DistillSummary& summary) {
  nlohmann::ordered_json json;
  for (const ModelResult& result : summary.results) json["results"].push_back(to_json(result));
  if (summary.floor) json["entropy_floor"] = *summary.floor;
  if (summary.entropy_rate) {
    json["entropy_rate"] = {{"nats_per_token", summary.entropy_rate->nats_per_token},
                            {"standard_error", summary.entropy_rate->standard_error}};
  }
  json["training"] = to_json(summary.training);
  return json;
}

std::string to_text(const DistillSummary& summary) {
  std::string text = results_table(summary.results, summary.floor.value_or(NAN));
  if (summary.entropy_rate) {
    text += format(
        "entropy floor: exact, on these very test tokens; the language's entropy rate is %.4f +- "
        "%.4f\n",
        summary.entropy_rate->nats_per_token, summary.entropy_rate->standard_error);
  }
  for (const ModelResult& result : summary.results) {
    if (result.fit.undetermined) {  // as temper calibrate says it
      const std::string seed =
          result.name == "teacher"
              ? ""
              : format(", seed %llu", static_cast<unsigned long long>(result.seed));
      text += format(
          "warning: these data do not determine the temperature of '%s'%s (%.4g is as far as the "
          "search went)\n",
          result.name.c_str(), seed.c_str(), result.fit.temperature);
    }
    if (result.name != "student, distilled") continue;
    text += format(
        "seed %llu: fit part NLL %.5f -> %.5f at T = %.4f (%d passes); most likely id changed on "
        "%lld of %lld test tokens\n",
        static_cast<unsigned long long>(result.seed), result.fit_before.nll, result.fit_after.nll,
        result.fit.temperature, result.fit.passes,
        static_cast<long long>(result.test_after.arg_max_changed),
        static_cast<long long>(result.test_after.tokens));
    if (result.ece_rose()) text += "  note: " + ece_note(result) + "\n";
    const Interval& nll = result.test_after.intervals.nll;
    if (result.test_after.intervals.sequences > 1)
      text +=
          format("  95%% interval of its NLL after calibration: %.4f to %.4f (%lld sequences)\n",
                 nll.low, nll.high, static_cast<long long>(result.test_after.intervals.sequences));
    if (!result.positions.empty()) text += "\n" + positions_table(result.positions) + "\n";
  }
  const TrainingSummary& training = summary.training;
  text += format("distillation: %s tokens/s, %s; students waited for ",
                 count_text(training.tokens_per_second).c_str(),
                 duration_text(training.seconds).c_str());
  if (summary.replays()) {
    return text + format("the store %.0f%% of the time; %.0f bytes per token read from the store\n",
                         100 * training.wait_teacher, training.bytes_per_token);
  }
  text += format(
      "teachers %.0f%% of the time, teachers for students %.0f%%; %.0f bytes per token travelled\n",
      100 * training.wait_teacher, 100 * training.wait_student, training.bytes_per_token);
  return text;
}

}  // namespace temper
