// Which tokens count in the loss: all, or those where teacher or student are least sure, and how
// much.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/program_options/options_description.hpp>
#include <string>

#include "comm/payload.h"

namespace temper {

/// Of each row (a sequence), the share of its valid tokens with the largest entropy counts (as in
/// Rho-1, Lin et al. 2024, arXiv 2404.07965, and Wang et al. 2025, arXiv 2506.01939, which select
/// by other scores and in reinforcement learning). By rows, so that the choice depends neither on
/// micro-batches nor on the number of ranks.
struct TokenChoiceConfig {
  std::string by = "all";  ///< all, teacher-entropy (of q, at T) or student-entropy (at T = 1)
  double share = 1;        ///< of a row's valid tokens, above 0
  bool weigh = false;  ///< a token's factor is its entropy over the mean of its row's chosen ones

  /// Declares `loss.tokens`, `loss.token-share` and `loss.token-weighting`.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option.
  void validate() const;
  bool chooses() const { return by != "all"; }
};

struct ChosenTokens {
  at::Tensor labels;   // (N) int64: kIgnoredLabel where a token does not count
  at::Tensor weights;  // (N) float64, or undefined: all 1
};

/// labels (N) int64 of rows of `seq` tokens; entropy (N) float64, of valid tokens. Where a row has
/// equal entropies at the boundary, the earlier tokens count.
ChosenTokens choose_tokens(const TokenChoiceConfig& config, const at::Tensor& labels, int64_t seq,
                           const at::Tensor& entropy);

/// Entropy of softmax(hidden · headᵀ / T) of each row, nats: hidden (N, C), head (V, C) -> (N)
/// float64, in chunks.
at::Tensor entropy_of(const at::Tensor& hidden, const at::Tensor& head, double temperature);

/// Entropy of the soft targets at T of each token -> (N) float64. Of topk that of the K ids and of
/// their tail as one outcome.
at::Tensor entropy_of(const SoftTargets& teacher, double temperature);

}  // namespace temper
