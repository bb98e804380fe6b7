// How good and how honest predictions are: negative log-likelihood, accuracy, Brier score, expected
// calibration error.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

inline constexpr int kCalibrationBins = 15;

/// Which of the equal-width bins each confidence (n) lies in -> (n) int64: bin b holds (b/15,
/// (b+1)/15].
at::Tensor calibration_bins(const at::Tensor& confidence);

/// Of a held-out part at one temperature. All per valid token.
struct Metrics {
  double temperature = 1;
  double nll = 0;         ///< nats
  double perplexity = 1;  ///< exp(nll)
  double accuracy = 0;    ///< share of tokens whose most likely id is the label
  double brier = 0;       ///< Σ_k (p_k − y_k)², 0 to 2 (Brier 1950)
  double ece =
      0;  ///< expected calibration error, 15 equal-width bins (Guo et al. 2017, arXiv 1706.04599)
  double ece_equal_mass =
      0;  ///< the same with 15 bins of equally many tokens (Nixon et al. 2019, arXiv 1904.01685)
  int64_t tokens = 0;
  int64_t arg_max_changed =
      0;  ///< tokens whose most likely id at this temperature is not the one at T = 1 (always 0)
  struct Bin {
    int64_t tokens = 0;
    double confidence = 0;  ///< mean
    double accuracy = 0;    ///< mean
  };
  std::array<Bin, kCalibrationBins> bins;  ///< equal-width: the reliability diagram
};

/// Collects predictions chunk by chunk; keeps five bytes a token (its confidence and whether it was
/// right).
class MetricsAccumulator {
 public:
  explicit MetricsAccumulator(double temperature) : temperature_(temperature) {}

  /// logits (N, V) float32 or float64, untempered; labels (N) int64, all valid.
  void add(const at::Tensor& logits, const at::Tensor& labels);

  /// Over all ranks; the same on each, whatever the split of the tokens. Collective. Throws
  /// c10::ValueError without tokens.
  Metrics finish(const Communicator& comm) const;

 private:
  double temperature_;
  double nll_ = 0;
  double brier_ = 0;
  int64_t arg_max_changed_ = 0;
  std::vector<at::Tensor> confidences_;  // each (n) float32
  std::vector<at::Tensor> correct_;      // each (n) uint8
};

}  // namespace temper
