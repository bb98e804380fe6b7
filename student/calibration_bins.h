// The bins of all binned calibration errors: 15 of equal width (Guo et al. 2017, arXiv 1706.04599).
#pragma once

#include <algorithm>
#include <cmath>

namespace temper {

inline constexpr int kCalibrationBins = 15;

/// Bin b holds probabilities in (b/15, (b+1)/15]; the first also those that are no numbers.
inline int calibration_bin(float probability) {
  if (!(probability > 0)) return 0;
  return std::clamp(static_cast<int>(std::ceil(probability * kCalibrationBins)) - 1, 0,
                    kCalibrationBins - 1);
}

}  // namespace temper
