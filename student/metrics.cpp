#include "student/metrics.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

namespace temper {

void MetricsAccumulator::add(const at::Tensor& logits, const at::Tensor& labels,
                             const at::Tensor& sequences) {
  const at::NoGradGuard no_grad;
  const at::Tensor index = labels.unsqueeze(1);  // (N, 1)
  at::Tensor log_p =
      at::log_softmax(temperature_ == 1 ? logits : logits / temperature_, 1);  // (N, V)
  const at::Tensor p = log_p.exp();                                            // (N, V)
  const at::Tensor log_likelihood = log_p.gather(1, index).squeeze(1);         // (N)
  // An id that is ruled out (log p = −inf) has p = 0 and adds nothing to the entropy.
  entropy_ -= log_p.clamp_min_(-700).mul_(p).sum(1).sum(at::kDouble).item<double>();
  // Σ_k (p_k − y_k)² = Σ_k p_k² − 2 p_label + 1
  const at::Tensor brier = at::linalg_vector_norm(p, 2, 1).square_().sub_(
      p.gather(1, index).squeeze(1), 2);  // (N), less 1
  // The arg max is that of the logits themselves, since rounding after a division by T may make
  // ties (but no change of order).
  const at::Tensor best = logits.argmax(1, /*keepdim=*/true);  // (N, 1)
  const at::Tensor confidence = p.gather(1, best).squeeze(1);  // (N)
  arg_max_changed_ += (p.amax(1) > confidence).sum().item<int64_t>();
  confidences_.push_back(confidence.to(at::kFloat).cpu().contiguous());             // (N)
  correct_.push_back((best == index).squeeze(1).to(at::kByte).cpu().contiguous());  // (N)
  add_classes(p, labels);

  const at::Tensor values = at::stack({log_likelihood, brier}).to(at::kDouble).cpu();  // (2, N)
  const int64_t count = labels.numel();
  const double* value = values.const_data_ptr<double>();
  const float* c = confidences_.back().const_data_ptr<float>();
  const uint8_t* right = correct_.back().const_data_ptr<uint8_t>();
  const at::Tensor numbers = sequences.contiguous();  // (N)
  const int64_t* number = numbers.const_data_ptr<int64_t>();
  SequenceSums* sums = nullptr;
  for (int64_t i = 0; i < count; ++i) {
    if (i == 0 || number[i] != number[i - 1]) sums = &sequences_[number[i]];
    sums->tokens += 1;
    sums->nll -= value[i];
    sums->brier += value[count + i] + 1;
    sums->correct += right[i];
    sums->gaps[static_cast<size_t>(calibration_bin(c[i]))] += c[i] - right[i];
  }
}

void MetricsAccumulator::add_classes(const at::Tensor& p, const at::Tensor& labels) {
  const int64_t vocab = p.size(1);
  if (!class_gaps_.defined()) class_gaps_ = at::zeros({vocab, kCalibrationBins}, at::kDouble);
  // Nearly all probabilities lie in the lowest bin: so all are added there by one sum over tokens,
  // and those above 1/15, at most 14 of a token, are moved.
  class_gaps_.select(1, 0).add_(p.sum(0).cpu());
  const auto bins = [](const at::Tensor& probability) {
    return (probability * kCalibrationBins)
        .ceil_()
        .sub_(1)
        .clamp_(0, kCalibrationBins - 1)
        .nan_to_num_(0)  // of a model that has diverged: its metrics are NaN, in whichever bin
        .to(at::kLong);
  };
  const at::Tensor high = (p > 1.0 / kCalibrationBins).view(-1).nonzero().squeeze(1);  // (n)
  const at::Tensor moved = p.reshape(-1).index_select(0, high);                        // (n)
  const at::Tensor of_label = p.gather(1, labels.unsqueeze(1)).squeeze(1);             // (N)
  const at::Tensor id = high.remainder(vocab).mul_(kCalibrationBins).cpu();            // (n)
  const at::Tensor mass = moved.to(at::kDouble).cpu();                                 // (n)
  class_gaps_.view(-1)
      .index_add_(0, id + bins(moved).cpu(), mass)
      .index_add_(0, id, mass, -1)
      .index_add_(0, (labels * kCalibrationBins + bins(of_label)).cpu(),
                  at::ones({labels.numel()}, at::kDouble), -1);
}

double MetricsAccumulator::classwise_error(const Communicator& comm, double tokens) const {
  const int64_t vocab =
      comm.all_reduce(class_gaps_.defined() ? class_gaps_.size(0) : int64_t{0}, Reduce::kMax);
  const at::Tensor gaps = class_gaps_.defined()
                              ? class_gaps_.clone()
                              : at::zeros({vocab, kCalibrationBins}, at::kDouble);  // (V, 15)
  comm.all_reduce(gaps);
  return gaps.abs_().sum().item<double>() / tokens / static_cast<double>(vocab);
}

/// Ordered by their numbers: the same on all ranks, and for any number of them.
std::vector<SequenceSums> MetricsAccumulator::all_sequences(const Communicator& comm) const {
  struct Numbered {
    int64_t number;
    SequenceSums sums;
  };
  static_assert(std::is_trivially_copyable_v<Numbered>);
  const auto bytes = [](size_t count) { return static_cast<int64_t>(count * sizeof(Numbered)); };
  at::Tensor mine = at::empty({bytes(sequences_.size())}, at::kByte);
  auto* next = mine.mutable_data_ptr<uint8_t>();
  for (const auto& [number, sums] : sequences_) {
    const Numbered numbered{number, sums};
    std::memcpy(next, &numbered, sizeof(numbered));
    next += sizeof(numbered);
  }
  const at::Tensor gathered = comm.all_gather(mine).contiguous();
  std::vector<Numbered> all(static_cast<size_t>(gathered.numel()) / sizeof(Numbered));
  if (!all.empty()) std::memcpy(all.data(), gathered.const_data_ptr(), gathered.nbytes());
  std::stable_sort(all.begin(), all.end(),
                   [](const Numbered& a, const Numbered& b) { return a.number < b.number; });
  std::vector<SequenceSums> result;
  for (const Numbered& each : all) result.push_back(each.sums);
  return result;
}

Metrics MetricsAccumulator::finish(const Communicator& comm) const {
  const auto joined = [](const std::vector<at::Tensor>& parts, at::ScalarType dtype) {
    return parts.empty() ? at::empty({0}, dtype) : at::cat(parts);
  };
  const at::Tensor confidence =
      comm.all_gather(joined(confidences_, at::kFloat)).contiguous();                    // (tokens)
  const at::Tensor correct = comm.all_gather(joined(correct_, at::kByte)).contiguous();  // (tokens)

  Metrics metrics;
  metrics.arg_max_changed = comm.all_reduce(arg_max_changed_);
  metrics.temperature = temperature_;
  metrics.tokens = confidence.numel();
  TORCH_CHECK_VALUE(metrics.tokens > 0, "there is no valid token to evaluate on");
  const double count = static_cast<double>(metrics.tokens);
  const std::vector<SequenceSums> sequences = all_sequences(comm);
  double nll = 0, brier = 0;
  for (const SequenceSums& each : sequences) {
    nll += each.nll;
    brier += each.brier;
  }
  metrics.nll = nll / count;
  metrics.brier = brier / count;
  metrics.perplexity = std::exp(metrics.nll);
  metrics.entropy = comm.all_reduce(entropy_) / count;
  metrics.ece_classwise = classwise_error(comm, count);
  metrics.intervals = bootstrap(sequences);

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
    const auto mass_bin = static_cast<size_t>(i * kCalibrationBins / metrics.tokens);
    for (Metrics::Bin* bin :
         {&metrics.bins[static_cast<size_t>(calibration_bin(c[token]))], &mass[mass_bin]}) {
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
