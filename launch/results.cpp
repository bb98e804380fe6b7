#include "launch/results.h"

#include <algorithm>
#include <cmath>

#include "launch/progress.h"

namespace temper {

using Json = nlohmann::ordered_json;

Json to_json(const Metrics& metrics) {
  Json json;
  json["nll"] = metrics.nll;
  json["perplexity"] = metrics.perplexity;
  json["accuracy"] = metrics.accuracy;
  json["ece"] = metrics.ece;
  json["ece_equal_mass"] = metrics.ece_equal_mass;
  json["brier"] = metrics.brier;
  json["tokens"] = metrics.tokens;
  json["temperature"] = metrics.temperature;
  json["arg_max_changed"] = metrics.arg_max_changed;
  for (const Metrics::Bin& bin : metrics.bins) {
    json["bins"].push_back(
        {{"tokens", bin.tokens}, {"confidence", bin.confidence}, {"accuracy", bin.accuracy}});
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
  return json;
}

namespace {

Metrics metrics_from_json(const Json& json) {
  Metrics metrics;
  metrics.nll = json.at("nll");
  metrics.perplexity = json.at("perplexity");
  metrics.accuracy = json.at("accuracy");
  metrics.ece = json.at("ece");
  metrics.ece_equal_mass = json.at("ece_equal_mass");
  metrics.brier = json.at("brier");
  metrics.tokens = json.at("tokens");
  metrics.temperature = json.at("temperature");
  metrics.arg_max_changed = json.at("arg_max_changed");
  for (size_t i = 0; i < metrics.bins.size(); ++i) {
    const Json& bin = json.at("bins").at(i);
    metrics.bins[i] = {bin.at("tokens"), bin.at("confidence"), bin.at("accuracy")};
  }
  return metrics;
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
    result.nll_curve.push_back({point.at("temperature"), point.at("nll")});
  }
  result.test_before = metrics_from_json(json.at("test").at("before"));
  result.test_after = metrics_from_json(json.at("test").at("after"));
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
  table += format("%-22s %9s | %-19s %7s %7s | %8s %7s %7s\n", "", "weights", "NLL", "ECE", "acc",
                  "NLL", "ECE", "T");
  table += format("%-22s %9s | %-35s | %s\n", "", "", "before calibration", "after calibration");
  table += std::string(96, '-') + '\n';
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
    table += format("%-22s %9s | %.4f%-13s %6.2f%% %6.2f%% | %8.4f %6.2f%% %7.4f\n", name.c_str(),
                    count_text(static_cast<double>(group.front()->parameters)).c_str(), nll.mean,
                    range.c_str(), 100 * ece.mean, 100 * accuracy.mean, after.mean,
                    100 * ece_after.mean, temperature.mean);
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
  std::string table = format("%-24s %9s %10s %9s %8s %8s %9s %8s\n", "", "NLL", "perplexity",
                             "accuracy", "ECE", "ECE mass", "Brier", "T");
  for (const auto& [name, metrics] : rows) {
    table += format("%-24s %9.4f %10.3f %8.2f%% %7.2f%% %7.2f%% %9.4f %8.4f\n", name.c_str(),
                    metrics.nll, metrics.perplexity, 100 * metrics.accuracy, 100 * metrics.ece,
                    100 * metrics.ece_equal_mass, metrics.brier, metrics.temperature);
  }
  return table;
}

}  // namespace temper
