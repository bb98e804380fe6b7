#include "student/exact_metrics.h"

#include <ATen/ATen.h>

#include <cmath>

namespace temper {

ExactAccumulator::ExactAccumulator(const std::vector<double>& temperatures)
    : temperatures_(temperatures), sums_(temperatures.size()) {}

void ExactAccumulator::add(const at::Tensor& logits, const at::Tensor& truth) {
  const at::NoGradGuard no_grad;
  const int64_t count = logits.size(0), ids = truth.size(1);
  tokens_ += count;
  // KL(π ‖ p) = Σ π log π − Σ π z/T + log Σ exp(z/T): only the last depends on T in earnest.
  const double negative_entropy = at::xlogy(truth, truth).sum().item<double>();
  const double mean_logits = (truth * logits.narrow(1, 0, ids)).sum().item<double>();
  const at::Tensor best = logits.argmax(1, /*keepdim=*/true);  // (N, 1)
  const at::Tensor top = logits.gather(1, best).squeeze(1);    // (N)
  const at::Tensor right =
      at::where(best < ids, truth.gather(1, best.clamp_max(ids - 1)), 0.0).squeeze(1);  // (N)
  const double* pi = right.const_data_ptr<double>();
  for (size_t t = 0; t < temperatures_.size(); ++t) {
    const double temperature = temperatures_[t];
    Sums& sums = sums_[t];
    const at::Tensor log_sum = at::logsumexp(logits / temperature, 1);  // (N)
    sums.kl +=
        negative_entropy - mean_logits / temperature + log_sum.sum(at::kDouble).item<double>();
    const at::Tensor confidence =
        (top / temperature - log_sum).exp_().to(at::kFloat).contiguous();  // (N)
    const float* c = confidence.const_data_ptr<float>();
    for (int64_t i = 0; i < count; ++i) {
      sums.confidence_error += std::abs(c[i] - pi[i]);
      sums.gaps[calibration_bin(c[i])] += c[i] - pi[i];
    }
  }
}

std::vector<ExactMetrics> ExactAccumulator::finish(const Communicator& comm) const {
  const auto tokens = static_cast<double>(comm.all_reduce(tokens_));
  std::vector<ExactMetrics> result;
  for (const Sums& sums : sums_) {
    ExactMetrics metrics;
    metrics.kl = comm.all_reduce(sums.kl) / tokens;
    metrics.confidence_error = comm.all_reduce(sums.confidence_error) / tokens;
    const at::Tensor gaps = at::empty({kCalibrationBins}, at::kDouble);  // (15)
    std::copy_n(sums.gaps, kCalibrationBins, gaps.mutable_data_ptr<double>());
    comm.all_reduce(gaps);
    metrics.ece = gaps.abs().sum().item<double>() / tokens;
    result.push_back(metrics);
  }
  return result;
}

}  // namespace temper
