// What temper plan prints: a table with a recommendation, or one JSON object.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "launch/plan_cores.h"
#include "launch/throughput_model.h"

namespace temper {

struct PlanResult {
  std::string source;  ///< "measured: 2 ranks at once, 20 steps", "from 4e14 FLOP/s a rank"
  std::vector<PayloadRates> rates;
  ClusterRates cluster;
  std::optional<CoreSplit> cores;
  double link_measured_bytes_per_s = 0;  ///< 0: not measured
  int64_t ranks = 0;
  int64_t nodes = 0;
  double memory_bytes = 0;  ///< limit of a rank; 0: none
  std::vector<Prediction> predictions;
  std::vector<size_t> choices;  ///< those with the recommended lookahead, and colocated ones
  int64_t recommended = -1;     ///< index of one of these; -1: nothing fits
};

/// Predictions of all payloads, splits (`teachers` > 0: only that one; else also colocated) and
/// lookaheads (lock-step, `lookahead`, the recommended one), and the choice among those that are
/// not lock-step. `spread`: launch.spread.
void fill_predictions(PlanResult& plan, const PlanJob& job, const std::vector<int>& node_of_rank,
                      int64_t teachers, int64_t lookahead, bool spread = true);

/// The options that make a distillation run as predicted.
std::vector<std::string> distill_options(const Prediction& prediction);

std::string to_text(const PlanResult& plan);
nlohmann::ordered_json to_json(const PlanResult& plan);

}  // namespace temper
