// How good and how honest predictions are: negative log-likelihood, accuracy, Brier score,
// sharpness, calibration errors.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "comm/mpi/communicator.h"
#include "student/bootstrap.h"
#include "student/calibration_bins.h"
#include "student/exact_metrics.h"

namespace temper {

/// Of a held-out part at one temperature. All per valid token.
struct Metrics {
  double temperature = 1;
  double nll = 0;         ///< nats
  double perplexity = 1;  ///< exp(nll)
  double accuracy = 0;    ///< share of tokens whose most likely id is the label
  double brier = 0;       ///< Σ_k (p_k − y_k)², 0 to 2 (Brier 1950)
  double entropy = 0;  ///< sharpness: mean −Σ_k p_k log p_k, nats; lower is sharper (Gneiting et
                       ///< al. 2007: as sharp as calibration allows)
  double ece =
      0;  ///< expected calibration error, 15 equal-width bins (Guo et al. 2017, arXiv 1706.04599)
  /// Adaptive ECE: the same with 15 bins of equally many tokens (adaptive binning as in Nixon et
  /// al. 2019, arXiv 1904.01685), of the most likely id alone. Nixon's own ACE does this for every
  /// id, for which all N·V probabilities would have to be sorted.
  double ece_equal_mass = 0;
  /// Classwise ECE (Kull et al. 2019, arXiv 1910.12656): for each id k the ECE of the event "the
  /// label is k" with probability p_k over all tokens, 15 equal-width bins, then the mean over the
  /// V ids of the logits. It falls as 1/V, so compare only at one vocabulary.
  double ece_classwise = 0;
  int64_t tokens = 0;
  int64_t arg_max_changed =
      0;  ///< tokens whose most likely id at this temperature is not the one at T = 1 (always 0)
  struct Bin {
    int64_t tokens = 0;
    double confidence = 0;  ///< mean
    double accuracy = 0;    ///< mean
  };
  std::array<Bin, kCalibrationBins> bins;  ///< equal-width: the reliability diagram
  Intervals intervals;                     ///< of nll, accuracy, brier and ece, over sequences
  std::optional<ExactMetrics> exact;       ///< where the process that wrote the corpus is known
};

/// Collects predictions chunk by chunk. Keeps five bytes a token (its confidence and whether it was
/// right), 152 bytes a sequence, and for the classwise ECE 15 sums (float64) an id: 6 MB at
/// V = 50,257.
class MetricsAccumulator {
 public:
  explicit MetricsAccumulator(double temperature) : temperature_(temperature) {}

  /// logits (N, V) float32 or float64, untempered; labels (N) int64, all valid; sequences (N) int64
  /// on the CPU: the number of each token's sequence, in the order of all ranks' sequences.
  void add(const at::Tensor& logits, const at::Tensor& labels, const at::Tensor& sequences);

  /// Over all ranks; the same on each, whatever the split of the sequences. Collective. Throws
  /// c10::ValueError without tokens.
  Metrics finish(const Communicator& comm) const;

 private:
  void add_classes(const at::Tensor& p, const at::Tensor& labels);
  double classwise_error(const Communicator& comm, double tokens) const;
  std::vector<SequenceSums> all_sequences(const Communicator& comm) const;

  double temperature_;
  double entropy_ = 0;
  int64_t arg_max_changed_ = 0;
  std::map<int64_t, SequenceSums> sequences_;
  at::Tensor class_gaps_;                // (V, 15) float64 on the CPU, Σ (p_k − y_k) of each bin
  std::vector<at::Tensor> confidences_;  // each (n) float32
  std::vector<at::Tensor> correct_;      // each (n) uint8
};

}  // namespace temper
