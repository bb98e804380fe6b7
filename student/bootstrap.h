// How far the metrics of a held-out part may be off because it is a sample: bootstrap intervals
// over sequences, whose tokens are not independent of each other.
#pragma once

#include <ATen/core/Tensor.h>

#include "comm/mpi/communicator.h"
#include "model/transformer.h"
#include "student/evaluation.h"

namespace temper {

struct Interval {
  double low = 0, high = 0;
};

/// Percentile intervals (Efron 1979) at 95 %: sequences are drawn with replacement.
struct MetricIntervals {
  Interval nll, accuracy, ece, brier;  // as in metrics.h
  int64_t sequences = 0, resamples = 0;
};

/// What a metric needs of each sequence: (R, kSequenceSums) float64: Σ −log p, Σ Brier, right ones,
/// tokens, then for each of the 15 bins of confidence its tokens, their confidence and the right
/// ones.
inline constexpr int64_t kSequenceSums = 4 + 3 * kCalibrationBins;

/// Of all rows of `data` in their order, on every rank. Collective.
at::Tensor sequence_sums(const Transformer& model, const HeldOut& data, double temperature,
                         at::ScalarType compute, const Communicator& comm);

/// The same `seed` gives the same intervals. Throws c10::ValueError with fewer than 2 sequences.
MetricIntervals bootstrap(const at::Tensor& sums, int64_t resamples, uint64_t seed);

}  // namespace temper
