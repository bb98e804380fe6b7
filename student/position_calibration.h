// Is one temperature enough? A temperature for each stretch of positions within the sequence: early
// tokens are predicted from little context, where a model may be more or less sure of itself than
// it should be. A diagnosis only: a folder's generation_config.json holds one temperature.
#pragma once

#include <cstdint>
#include <vector>

#include "student/calibration.h"
#include "student/evaluation.h"

namespace temper {

/// The positions [begin, end) of every sequence.
struct PositionBucket {
  int64_t begin = 0;
  int64_t end = 0;
  CalibrationFit fit;     ///< on the fit part; undetermined, with T = 1, where it has no such token
  int64_t tokens = 0;     ///< of the test part; the means below are over them, nats
  double nll_before = 0;  ///< at T = 1
  double nll_single = 0;  ///< at the one T of all positions
  double nll_after = 0;   ///< at the bucket's own T
};

/// Fits each of `buckets` (1 to `seq`) equally long stretches on `fit_part`, all in the same
/// passes, and measures on `test_part`, where `single` is the one T of all positions. Throws
/// EvaluationStopped. Collective.
std::vector<PositionBucket> calibrate_by_position(const Transformer& model, const HeldOut& fit_part,
                                                  const HeldOut& test_part, int64_t buckets,
                                                  double single, at::ScalarType compute,
                                                  const Communicator& comm);

}  // namespace temper
