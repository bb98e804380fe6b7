// Temperature scaling (Guo et al. 2017, arXiv 1706.04599): the one number T that minimises the
// negative log-likelihood of softmax(z/T) on held-out tokens. In β = 1/T the NLL is convex, and
// with z under p = softmax(βz)
//
//   NLL(β) = mean( log Σ_k exp(β z_k) − β z_label ),   NLL' = mean( E_p[z] − z_label ),   NLL'' =
//   mean( Var_p[z] ),
//
// so a pass over the tokens gives three sums, nothing is stored, and ranks exchange three numbers.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

/// Sums over valid tokens at one β, in nats.
struct CalibrationSums {
  double nll = 0;
  double slope = 0;      ///< Σ E_p[z] − z_label
  double curvature = 0;  ///< Σ Var_p[z]
  int64_t tokens = 0;

  CalibrationSums& operator+=(const CalibrationSums& other);
};

/// Each of `mine` summed over all ranks. Collective.
std::vector<CalibrationSums> all_reduce(const std::vector<CalibrationSums>& mine,
                                        const Communicator& comm);

/// logits (N, V) float32 or float64; labels (N) int64, all valid.
CalibrationSums calibration_sums(const at::Tensor& logits, const at::Tensor& labels, double beta);

struct CalibrationFit {
  double temperature = 1;
  int passes = 0;         ///< over the fitting tokens
  double nll_before = 0;  ///< mean at T = 1
  /// The tokens do not determine T: the minimum lies outside [kMinTemperature, kMaxTemperature], or
  /// the NLL is flat.
  bool undetermined = false;
};

inline constexpr double kMinTemperature = 0.01;
inline constexpr double kMaxTemperature = 100.0;

/// Finds the minimum by a safeguarded Newton iteration that starts at T = 1: steps in log β,
/// sharpened by inverse interpolation of the slope, kept inside the bracket that the signs of the
/// slope give. Relative error of T about 1e-7. T is never ≤ 0; NLL on the fitting tokens never
/// rises, since every move is towards the minimum of a convex function. It is driven from outside,
/// so that one pass over the tokens can serve several searches:
///
///   while (!search.done()) search.take(sums over all tokens at search.beta());
class TemperatureSearch {
 public:
  /// The slope of the NLL against u = log β at one point.
  struct Point {
    double u = 0;
    double slope = 0;   ///< NLL'(β)
    double change = 0;  ///< dNLL'(β)/du = NLL''(β)·β
  };

  bool done() const { return done_; }
  double beta() const;
  /// `sums` at beta(). Throws c10::ValueError if there is no token, c10::Error if the NLL is no
  /// finite number.
  void take(const CalibrationSums& sums);
  CalibrationFit fit() const;

 private:
  double u_ = 0;
  double last_ = 0;  // step
  int passes_ = 0;
  double nll_before_ = 0;
  std::optional<Point> below_, above_;  // the nearest points with slope < 0 and slope > 0
  bool flat_ = false;
  bool done_ = false;
};

/// One search to its end. `pass` returns the sums over all tokens at a β, the same on each rank
/// that calls this (collective if `pass` is).
CalibrationFit fit_temperature(const std::function<CalibrationSums(double beta)>& pass);

}  // namespace temper
