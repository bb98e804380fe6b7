// How far metrics would move if the held-out part were another one of the same kind: percentile
// bootstrap (Efron 1979) over whole sequences. Tokens of one sequence share its topic and its
// errors, so intervals from resampled tokens would be too narrow.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "student/calibration_bins.h"

namespace temper {

/// What one sequence adds to the metrics: enough to put them together for any choice of sequences.
struct SequenceSums {
  double tokens = 0;
  double nll = 0;
  double brier = 0;
  double correct = 0;
  std::array<double, kCalibrationBins> gaps{};  ///< per bin, Σ (confidence − correct)
};

struct Interval {
  double low = 0;
  double high = 0;
};

/// 95 % intervals. `sequences` of 0 or 1 tell nothing: all intervals are (0, 0) then.
struct Intervals {
  int64_t sequences = 0;
  Interval nll, accuracy, brier;
  /// Of the ECE as it is estimated. Every resample adds noise of its own to each bin, so where the
  /// true error is near 0 the interval lies above it.
  Interval ece;
};

inline constexpr int kBootstrapResamples = 1000;

/// From the 2.5th to the 97.5th percentile of the metrics over 1,000 resamples of as many
/// sequences, drawn with replacement. A pure function of `sequences` and `seed`. Costs 1,000 ·
/// sequences short sums: 20 ms for 1,000 sequences.
Intervals bootstrap(const std::vector<SequenceSums>& sequences, uint64_t seed = 0);

}  // namespace temper
