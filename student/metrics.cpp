#include "student/metrics.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace temper {

at::Tensor calibration_bins(const at::Tensor& confidence) {
  return (confidence * kCalibrationBins)
      .ceil()
      .sub(1)
      .clamp(0, kCalibrationBins - 1)
      .to(at::kLong);  // (n)
}

void MetricsAccumulator::add(const at::Tensor& logits, const at::Tensor& labels) {
  const at::NoGradGuard no_grad;
  const at::Tensor index = labels.unsqueeze(1);                        // (N, 1)
  const at::Tensor log_p = at::log_softmax(logits / temperature_, 1);  // (N, V)
  const at::Tensor p = log_p.exp();                                    // (N, V)
  nll_ -= log_p.gather(1, index).sum(at::kDouble).item<double>();
  // Σ_k (p_k − y_k)² = Σ_k p_k² − 2 p_label + 1
  brier_ +=
      p.square().sum(1).sub_(p.gather(1, index).squeeze(1), 2).sum(at::kDouble).item<double>() +
      static_cast<double>(labels.numel());
  // The arg max is that of the logits themselves, since rounding after a division by T may make
  // ties (but no change of order).
  const at::Tensor best = logits.argmax(1, /*keepdim=*/true);  // (N, 1)
  const at::Tensor confidence = p.gather(1, best).squeeze(1);  // (N)
  arg_max_changed_ += (p.amax(1) > confidence).sum().item<int64_t>();
  confidences_.push_back(confidence.to(at::kFloat).cpu());             // (N)
  correct_.push_back((best == index).squeeze(1).to(at::kByte).cpu());  // (N)
}

Metrics MetricsAccumulator::finish(const Communicator& comm) const {
  const auto joined = [](const std::vector<at::Tensor>& parts, at::ScalarType dtype) {
    return parts.empty() ? at::empty({0}, dtype) : at::cat(parts);
  };
  const at::Tensor confidence =
      comm.all_gather(joined(confidences_, at::kFloat)).contiguous();                    // (tokens)
  const at::Tensor correct = comm.all_gather(joined(correct_, at::kByte)).contiguous();  // (tokens)
  const double nll = comm.all_reduce(nll_);
  const double brier = comm.all_reduce(brier_);

  Metrics metrics;
  metrics.arg_max_changed = comm.all_reduce(arg_max_changed_);
  metrics.temperature = temperature_;
  metrics.tokens = confidence.numel();
  TORCH_CHECK_VALUE(metrics.tokens > 0, "there is no valid token to evaluate on");
  const double count = static_cast<double>(metrics.tokens);
  metrics.nll = nll / count;
  metrics.perplexity = std::exp(metrics.nll);
  metrics.brier = brier / count;

  // Sorted by (confidence, correct), the tokens' order does not depend on which rank had which.
  const float* c = confidence.const_data_ptr<float>();
  const uint8_t* r = correct.const_data_ptr<uint8_t>();
  std::vector<int64_t> order(static_cast<size_t>(metrics.tokens));
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(),
            [&](int64_t a, int64_t b) { return c[a] != c[b] ? c[a] < c[b] : r[a] < r[b]; });

  std::array<Metrics::Bin, kCalibrationBins> mass{};
  double right = 0;
  for (int64_t i = 0; i < metrics.tokens; ++i) {
    const int64_t token = order[static_cast<size_t>(i)];
    right += r[token];
    // Bin b holds confidences in (b/15, (b+1)/15].
    const int width_bin = std::clamp(static_cast<int>(std::ceil(c[token] * kCalibrationBins)) - 1,
                                     0, kCalibrationBins - 1);
    const int mass_bin = static_cast<int>(i * kCalibrationBins / metrics.tokens);
    for (Metrics::Bin* bin :
         {&metrics.bins[static_cast<size_t>(width_bin)], &mass[static_cast<size_t>(mass_bin)]}) {
      ++bin->tokens;
      bin->confidence += c[token];
      bin->accuracy += r[token];
    }
  }
  metrics.accuracy = right / count;
  const auto error = [&](std::array<Metrics::Bin, kCalibrationBins>& bins) {
    double sum = 0;
    for (Metrics::Bin& bin : bins) {
      sum += std::abs(bin.confidence - bin.accuracy);
      if (bin.tokens == 0) continue;
      bin.confidence /= static_cast<double>(bin.tokens);
      bin.accuracy /= static_cast<double>(bin.tokens);
    }
    return sum / count;
  };
  metrics.ece = error(metrics.bins);
  metrics.ece_equal_mass = error(mass);
  return metrics;
}

}  // namespace temper
