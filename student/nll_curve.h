// The negative log-likelihood as a function of the temperature, around a fitted one: what a person
// looks at to see that a fit is a minimum, and how sharp it is.
#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <vector>

#include "comm/mpi/communicator.h"

namespace temper {

struct NllPoint {
  double temperature = 1;
  double nll = 0;  ///< mean, nats per token
};

/// Collects 25 points from T/4 to 4·T, in equal steps of log T, over chunks of logits.
class NllCurve {
 public:
  static constexpr size_t kPoints = 25;

  /// `centre`: the fitted temperature, > 0.
  explicit NllCurve(double centre);

  /// logits (N, V) float32 or float64, untempered; labels (N) int64, all valid. β = 1/T doubles
  /// every six points, so that six exponentials a logit are enough: exp(2βz) = exp(βz)².
  void add(const at::Tensor& logits, const at::Tensor& labels);

  /// Over all ranks, ascending in T. Collective. Throws c10::ValueError without tokens.
  std::vector<NllPoint> finish(const Communicator& comm) const;

 private:
  std::array<double, kPoints> betas_{};  // ascending
  std::array<double, kPoints> sums_{};   // Σ −log p_T(label)
  int64_t tokens_ = 0;
};

}  // namespace temper
