// The gradient of a loss of some logits by central differences, to hold a written-out one against.
#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace temper {

/// logits (N, V) float64 -> d loss / d logits, (N, V); the error is of the order of h² = 1e-10.
inline at::Tensor central_differences(const at::Tensor& logits,
                                      const std::function<double(const at::Tensor&)>& loss) {
  constexpr double kStep = 1e-5;
  at::Tensor gradient = at::zeros_like(logits);  // (N, V)
  for (int64_t i = 0; i < logits.numel(); ++i) {
    at::Tensor up = logits.clone(), down = logits.clone();  // (N, V)
    up.view(-1)[i] += kStep;
    down.view(-1)[i] -= kStep;
    gradient.view(-1)[i] = (loss(up) - loss(down)) / (2 * kStep);
  }
  return gradient;
}

}  // namespace temper
