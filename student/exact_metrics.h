// What only the built-in language can tell: how far a model is from the truth, since the
// distribution π that wrote each token is known. No label takes part, so no sampling noise does.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "comm/mpi/communicator.h"
#include "student/calibration_bins.h"

namespace temper {

/// Of a model p at one temperature, in the contexts of the held-out tokens. With the model's most
/// likely id k* and its confidence c = p(k*), which is right with probability π(k*):
struct ExactMetrics {
  double kl = 0;  ///< mean KL(π ‖ p), nats per token; the expected NLL is this much above the floor
  /// Expected calibration error with π(k*) in the place of the label's 0 or 1:
  /// Σ_b n_b/N · |mean c − mean π(k*)| over the 15 equal-width bins of c.
  double ece = 0;
  /// mean |c − π(k*)|: errors of opposite sign in one bin do not cancel. The calibration error
  /// without bins, E|c − P(right | c)|, lies between the two (Jensen).
  double confidence_error = 0;
};

/// Collects chunk by chunk, at several temperatures at once.
class ExactAccumulator {
 public:
  explicit ExactAccumulator(const std::vector<double>& temperatures);

  /// logits (N, V) float32 or float64, untempered; truth (N, V') float64, V' <= V: ids from V' on
  /// never occur. Both on the CPU.
  void add(const at::Tensor& logits, const at::Tensor& truth);

  /// At each temperature; the same on every rank. Collective.
  std::vector<ExactMetrics> finish(const Communicator& comm) const;

 private:
  struct Sums {
    double kl = 0;
    double confidence_error = 0;
    double gaps[kCalibrationBins] = {};  // per bin, Σ (c − π(k*))
  };
  std::vector<double> temperatures_;
  std::vector<Sums> sums_;
  int64_t tokens_ = 0;
};

}  // namespace temper
