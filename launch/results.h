// The numbers of a finished model, as a person reads them (tables) and as a program does (JSON).
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "launch/tensorboard.h"
#include "student/calibration.h"
#include "student/metrics.h"
#include "student/nll_curve.h"
#include "student/position_calibration.h"

namespace temper {

/// A model's way through calibration. The temperature is fitted on the fit part and judged on the
/// test part.
struct ModelResult {
  std::string name;
  uint64_t seed = 0;
  int64_t parameters = 0;
  CalibrationFit fit;
  Metrics fit_before, fit_after;          ///< fit part, at T = 1 and at the fitted T
  std::vector<NllPoint> nll_curve;        ///< fit part, around the fitted T; empty: not measured
  Metrics test_before, test_after;        ///< test part
  std::vector<PositionBucket> positions;  ///< empty: not asked for

  /// Minimising the NLL made the calibration error of the test part worse.
  bool ece_rose() const { return test_after.ece > test_before.ece; }
};

nlohmann::ordered_json to_json(const Metrics& metrics);
nlohmann::ordered_json to_json(const ModelResult& result);
nlohmann::ordered_json to_json(const std::vector<PositionBucket>& positions);
/// Reads back what to_json() wrote (a teacher rank's result on its way to rank 0).
ModelResult result_from_json(const nlohmann::ordered_json& json);

/// The test part's metrics as TensorBoard scalars ("test/nll before" …), and the temperature.
Scalars test_scalars(const ModelResult& result);

/// The closing table. Results of one name and several seeds make one row, mean ± spread (largest
/// minus smallest) of the NLL. `floor` is the NLL of the process that wrote the test part, NaN
/// where it is not known.
std::string results_table(const std::vector<ModelResult>& results, double floor);

/// A table of one model's metrics before and after, for evaluate and calibrate.
std::string metrics_table(const std::vector<std::pair<std::string, Metrics>>& rows);

/// Their confidence intervals; empty where there are no two sequences.
std::string intervals_table(const std::vector<std::pair<std::string, Metrics>>& rows);

/// Temperatures of positions and what they would gain over the one T.
std::string positions_table(const std::vector<PositionBucket>& positions);

/// Says so where ece_rose(); otherwise empty.
std::string ece_note(const ModelResult& result);

}  // namespace temper
