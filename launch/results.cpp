#include "launch/results.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "launch/progress.h"

namespace temper {

using Json = nlohmann::ordered_json;

namespace {

/// The intervals by the names of their metrics.
template <typename Any>
auto named(Any& intervals) {
  return std::array{std::pair{"nll", &intervals.nll}, std::pair{"accuracy", &intervals.accuracy},
                    std::pair{"brier", &intervals.brier}, std::pair{"ece", &intervals.ece}};
}

}  // namespace

Json to_json(const Metrics& metrics) {
  Json json;
  json["nll"] = metrics.nll;
  json["perplexity"] = metrics.perplexity;
  json["accuracy"] = metrics.accuracy;
  json["ece"] = metrics.ece;
  json["ece_equal_mass"] = metrics.ece_equal_mass;
  json["ece_classwise"] = metrics.ece_classwise;
  json["brier"] = metrics.brier;
  json["entropy"] = metrics.entropy;
  json["tokens"] = metrics.tokens;
  json["temperature"] = metrics.temperature;
  json["arg_max_changed"] = metrics.arg_max_changed;
  for (const Metrics::Bin& bin : metrics.bins) {
    json["bins"].push_back(
        {{"tokens", bin.tokens}, {"confidence", bin.confidence}, {"accuracy", bin.accuracy}});
  }
  json["sequences"] = metrics.intervals.sequences;
  if (metrics.intervals.sequences > 1) {
    for (const auto& [name, interval] : named(metrics.intervals))
      json["intervals"][name] = {interval->low, interval->high};
  }
  if (metrics.exact) {
    json["exact"] = {{"kl", metrics.exact->kl},
                     {"ece", metrics.exact->ece},
                     {"confidence_error", metrics.exact->confidence_error}};
  }
  return json;
}

Json to_json(const std::vector<PositionBucket>& positions) {
  Json json = Json::array();
  for (const PositionBucket& bucket : positions) {
    json.push_back({{"begin", bucket.begin},
                    {"end", bucket.end},
                    {"temperature", bucket.fit.temperature},
                    {"passes", bucket.fit.passes},
                    {"undetermined", bucket.fit.undetermined},
                    {"tokens", bucket.tokens},
                    {"nll_before", bucket.nll_before},
                    {"nll_single", bucket.nll_single},
                    {"nll_after", bucket.nll_after}});
  }
  return json;
}

Json to_json(const ModelResult& result) {
  Json json;
  json["name"] = result.name;
  json["seed"] = result.seed;
  json["parameters"] = result.parameters;
  json["temperature"] = result.fit.temperature;
  json["passes"] = result.fit.passes;
  json["undetermined"] = result.fit.undetermined;
  json["fit"] = {{"before", to_json(result.fit_before)}, {"after", to_json(result.fit_after)}};
  for (const NllPoint& point : result.nll_curve) {
    json["fit"]["nll_curve"].push_back({{"temperature", point.temperature}, {"nll", point.nll}});
  }
  json["test"] = {{"before", to_json(result.test_before)}, {"after", to_json(result.test_after)}};
  json["ece_rose"] = result.ece_rose();
  if (!result.positions.empty()) json["positions"] = to_json(result.positions);
  return json;
}

namespace {

/// A number that is not finite is written as null: JSON has none.
double number(const Json& json) { return json.is_null() ? NAN : json.get<double>(); }

Metrics metrics_from_json(const Json& json) {
  Metrics metrics;
  metrics.nll = number(json.at("nll"));
  metrics.perplexity = std::exp(metrics.nll);  // infinite where the NLL is above 709
  metrics.accuracy = number(json.at("accuracy"));
  metrics.ece = number(json.at("ece"));
  metrics.ece_equal_mass = number(json.at("ece_equal_mass"));
  metrics.ece_classwise = number(json.at("ece_classwise"));
  metrics.brier = number(json.at("brier"));
  metrics.entropy = number(json.at("entropy"));
  metrics.tokens = json.at("tokens");
  metrics.temperature = json.at("temperature");
  metrics.arg_max_changed = json.at("arg_max_changed");
  for (size_t i = 0; i < metrics.bins.size(); ++i) {
    const Json& bin = json.at("bins").at(i);
    metrics.bins[i] = {bin.at("tokens"), number(bin.at("confidence")), number(bin.at("accuracy"))};
  }
  metrics.intervals.sequences = json.at("sequences");
  if (json.contains("intervals")) {
    for (const auto& [name, interval] : named(metrics.intervals)) {
      const Json& ends = json.at("intervals").at(name);
      *interval = {number(ends.at(0)), number(ends.at(1))};
    }
  }
  if (json.contains("exact")) {
    const Json& exact = json.at("exact");
    metrics.exact = ExactMetrics{number(exact.at("kl")), number(exact.at("ece")),
                                 number(exact.at("confidence_error"))};
  }
  return metrics;
}

std::vector<PositionBucket> positions_from_json(const Json& json) {
  std::vector<PositionBucket> positions;
  for (const Json& each : json) {
    PositionBucket bucket;
    bucket.begin = each.at("begin");
    bucket.end = each.at("end");
    bucket.fit.temperature = each.at("temperature");
    bucket.fit.passes = each.at("passes");
    bucket.fit.undetermined = each.at("undetermined");
    bucket.tokens = each.at("tokens");
    bucket.nll_before = number(each.at("nll_before"));
    bucket.nll_single = number(each.at("nll_single"));
    bucket.nll_after = number(each.at("nll_after"));
    positions.push_back(bucket);
  }
  return positions;
}

struct Spread {
  double mean = 0;
  double range = 0;
};

template <typename Get>
Spread spread(const std::vector<const ModelResult*>& group, Get get) {
  double low = HUGE_VAL, high = -HUGE_VAL, sum = 0;
  for (const ModelResult* each : group) {
    const double value = get(*each);
    low = std::min(low, value);
    high = std::max(high, value);
    sum += value;
  }
  return {sum / static_cast<double>(group.size()), high - low};
}

}  // namespace

ModelResult result_from_json(const Json& json) {
  ModelResult result;
  result.name = json.at("name");
  result.seed = json.at("seed");
  result.parameters = json.at("parameters");
  result.fit.temperature = json.at("temperature");
  result.fit.passes = json.at("passes");
  result.fit.undetermined = json.at("undetermined");
  result.fit_before = metrics_from_json(json.at("fit").at("before"));
  result.fit_after = metrics_from_json(json.at("fit").at("after"));
  for (const Json& point : json.at("fit").value("nll_curve", Json::array())) {
    result.nll_curve.push_back({point.at("temperature"), number(point.at("nll"))});
  }
  result.test_before = metrics_from_json(json.at("test").at("before"));
  result.test_after = metrics_from_json(json.at("test").at("after"));
  if (json.contains("positions")) result.positions = positions_from_json(json.at("positions"));
  return result;
}

Scalars test_scalars(const ModelResult& result) {
  Scalars scalars;
  for (const auto& [stage, metrics] :
       {std::pair{" before", &result.test_before}, {" after", &result.test_after}}) {
    const auto add = [&, stage = std::string(stage)](const char* name, double value) {
      scalars.emplace_back(std::string("test/") + name + stage, value);
    };
    add("nll", metrics->nll);
    add("accuracy", metrics->accuracy);
    add("ece", metrics->ece);
    add("brier", metrics->brier);
  }
  scalars.emplace_back("test/temperature", result.fit.temperature);
  return scalars;
}

std::string results_table(const std::vector<ModelResult>& results, double floor) {
  std::vector<std::string> names;
  size_t most_seeds = 1;
  for (const ModelResult& result : results) {
    if (std::find(names.begin(), names.end(), result.name) == names.end())
      names.push_back(result.name);
    const auto same = std::count_if(results.begin(), results.end(),
                                    [&](const ModelResult& r) { return r.name == result.name; });
    most_seeds = std::max(most_seeds, static_cast<size_t>(same));
  }
  std::string table = format("test part, %lld tokens; NLL in nats per token\n\n",
                             static_cast<long long>(results.front().test_before.tokens));
  const bool exact = std::all_of(results.begin(), results.end(), [](const ModelResult& each) {
    return each.test_after.exact.has_value();
  });
  table += format("%-22s %9s | %-19s %7s %7s | %8s %7s %7s", "", "weights", "NLL", "ECE", "acc",
                  "NLL", "ECE", "T");
  table += exact ? format(" | %8s %7s\n", "KL", "ECE") : "\n";
  table += format("%-22s %9s | %-35s | %-24s%s\n", "", "", "before calibration",
                  "after calibration", exact ? " | after, exact" : "");
  table += std::string(exact ? 115 : 96, '-') + '\n';
  for (const std::string& name : names) {
    std::vector<const ModelResult*> group;
    for (const ModelResult& result : results) {
      if (result.name == name) group.push_back(&result);
    }
    const Spread nll = spread(group, [](const ModelResult& r) { return r.test_before.nll; });
    const Spread ece = spread(group, [](const ModelResult& r) { return r.test_before.ece; });
    const Spread accuracy =
        spread(group, [](const ModelResult& r) { return r.test_before.accuracy; });
    const Spread after = spread(group, [](const ModelResult& r) { return r.test_after.nll; });
    const Spread ece_after = spread(group, [](const ModelResult& r) { return r.test_after.ece; });
    const Spread temperature =
        spread(group, [](const ModelResult& r) { return r.fit.temperature; });
    const std::string range =
        group.size() > 1 ? format(" (spread %.4f)", nll.range) : std::string();
    table += format("%-22s %9s | %.4f%-13s %6.2f%% %6.2f%% | %8.4f %6.2f%% %7.4f", name.c_str(),
                    count_text(static_cast<double>(group.front()->parameters)).c_str(), nll.mean,
                    range.c_str(), 100 * ece.mean, 100 * accuracy.mean, after.mean,
                    100 * ece_after.mean, temperature.mean);
    if (exact) {
      const Spread kl = spread(group, [](const ModelResult& r) { return r.test_after.exact->kl; });
      const Spread error =
          spread(group, [](const ModelResult& r) { return r.test_after.exact->ece; });
      table += format(" | %8.4f %6.2f%%", kl.mean, 100 * error.mean);
    }
    table += '\n';
  }
  if (std::isfinite(floor)) {
    table += format("%-22s %9s | %.4f%-13s %7s %7s |\n", "entropy floor", "", floor, "", "", "");
  }
  if (most_seeds > 1) {
    table += format(
        "\nrows are means over %zu seeds; the spread is the largest NLL minus the smallest\n",
        most_seeds);
  }
  return table;
}

std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& rows) {
  const bool exact = std::all_of(rows.begin(), rows.end(),
                                 [](const auto& row) { return row.second.exact.has_value(); });
  std::string table = format("%-20s %9s %10s %9s %8s %8s %9s %8s %8s %8s", "", "NLL", "perplexity",
                             "accuracy", "ECE", "adaptive", "classwise", "Brier", "entropy", "T");
  table += exact ? format(" | exact: %7s %7s %7s\n", "KL", "ECE", "|error|") : "\n";
  for (const auto& [name, metrics] : rows) {
    table += format("%-20s %9.4f %10.3f %8.2f%% %7.2f%% %7.2f%% %8.4f%% %8.4f %8.4f %8.4f",
                    name.c_str(), metrics.nll, metrics.perplexity, 100 * metrics.accuracy,
                    100 * metrics.ece, 100 * metrics.ece_equal_mass, 100 * metrics.ece_classwise,
                    metrics.brier, metrics.entropy, metrics.temperature);
    if (exact) {
      table += format(" | %14.4f %6.2f%% %6.2f%%", metrics.exact->kl, 100 * metrics.exact->ece,
                      100 * metrics.exact->confidence_error);
    }
    table += '\n';
  }
  return table;
}

std::string intervals_table(const std::vector<std::pair<std::string, Metrics>>& rows) {
  std::string table;
  const auto ends = [](const Interval& interval, bool share) {
    return share ? format("%.2f%% to %.2f%%", 100 * interval.low, 100 * interval.high)
                 : format("%.4f to %.4f", interval.low, interval.high);
  };
  for (const auto& [name, metrics] : rows) {
    const Intervals& intervals = metrics.intervals;
    if (intervals.sequences < 2) continue;
    if (table.empty()) {
      table +=
          format("%-20s %20s %20s %20s %20s\n", "95% intervals", "NLL", "accuracy", "ECE", "Brier");
    }
    table += format("%-20s %20s %20s %20s %20s  (%lld sequences)\n", name.c_str(),
                    ends(intervals.nll, false).c_str(), ends(intervals.accuracy, true).c_str(),
                    ends(intervals.ece, true).c_str(), ends(intervals.brier, false).c_str(),
                    static_cast<long long>(intervals.sequences));
  }
  return table;
}

std::string positions_table(const std::vector<PositionBucket>& positions) {
  std::string table = format("%-20s %8s | %9s %9s %9s %9s\n", "positions", "T", "tokens", "T = 1",
                             "one T", "own T");
  double tokens = 0, single = 0, own = 0;
  for (const PositionBucket& bucket : positions) {
    table += format("%-20s %8.4f | %9lld %9.4f %9.4f %9.4f%s\n",
                    format("%lld to %lld", static_cast<long long>(bucket.begin),
                           static_cast<long long>(bucket.end - 1))
                        .c_str(),
                    bucket.fit.temperature, static_cast<long long>(bucket.tokens),
                    bucket.nll_before, bucket.nll_single, bucket.nll_after,
                    bucket.fit.undetermined ? "  T is not determined" : "");
    const auto count = static_cast<double>(bucket.tokens);
    tokens += count;
    single += count * bucket.nll_single;
    own += count * bucket.nll_after;
  }
  table += format(
      "NLL of the test part; over all positions %.5f with one T, %.5f with a T for each (only "
      "reported: generation_config.json holds one T)\n",
      single / tokens, own / tokens);
  return table;
}

std::string ece_note(const ModelResult& result) {
  if (!result.ece_rose()) return {};
  const Metrics &before = result.test_before, &after = result.test_after;
  std::string note = format(
      "the fitted T lowers the NLL of the fit part, but on the test part ECE rose from %.2f%% to "
      "%.2f%%",
      100 * before.ece, 100 * after.ece);
  if (before.exact && after.exact)
    note += format(" (exact: %.2f%% to %.2f%%)", 100 * before.exact->ece, 100 * after.exact->ece);
  return note;
}

}  // namespace temper
