#include "student/bootstrap.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "comm/placement.h"
#include "data/random.h"

namespace temper {
namespace {

constexpr uint64_t kPurpose = 0x626f6f7473747261;  // no other stream has this key

/// The sums of one sequence: log_p (n, V) float32 of its valid tokens at the temperature, labels
/// (n).
at::Tensor sums_of(const at::Tensor& log_p, const at::Tensor& labels) {
  const at::Tensor index = labels.unsqueeze(1);                         // (n, 1)
  const at::Tensor p = log_p.exp();                                     // (n, V)
  const auto [confidence, best] = p.max(1, /*keepdim=*/true);           // (n, 1)
  const at::Tensor right = (best == index).to(at::kDouble).squeeze(1);  // (n)
  const at::Tensor sure = confidence.to(at::kDouble).squeeze(1);        // (n)
  const at::Tensor bin = calibration_bins(sure);                        // (n)
  at::Tensor bins = at::zeros({3, kCalibrationBins}, at::kDouble);      // tokens, confidence, right
  bins[0].index_add_(0, bin, at::ones_like(sure));
  bins[1].index_add_(0, bin, sure);
  bins[2].index_add_(0, bin, right);
  const double nll = -log_p.gather(1, index).sum(at::kDouble).item<double>();
  const double brier =
      p.square().sum(1).sub_(p.gather(1, index).squeeze(1), 2).sum(at::kDouble).item<double>() +
      static_cast<double>(labels.numel());
  const at::Tensor head = at::tensor(
      {nll, brier, right.sum().item<double>(), static_cast<double>(labels.numel())}, at::kDouble);
  return at::cat({head, bins.reshape(-1)});  // (kSequenceSums)
}

struct Values {
  double nll, accuracy, ece, brier;
};

/// The metrics of sequences whose sums add up to `total`.
Values values_of(const double* total) {
  const double tokens = std::max(1.0, total[3]);
  const double* bins = total + 4;
  double off = 0;
  for (int bin = 0; bin < kCalibrationBins; ++bin)
    off += std::abs(bins[kCalibrationBins + bin] - bins[2 * kCalibrationBins + bin]);
  return {total[0] / tokens, total[2] / tokens, off / tokens, total[1] / tokens};
}

Interval middle(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const auto at = [&](double share) {
    return values[static_cast<size_t>(
        std::llround(share * static_cast<double>(values.size() - 1)))];
  };
  return {at(0.025), at(0.975)};
}

}  // namespace

at::Tensor sequence_sums(const Transformer& model, const HeldOut& data, double temperature,
                         at::ScalarType compute, const Communicator& comm) {
  const at::NoGradGuard no_grad;
  const at::Device device = model.flat_weights().device();
  const at::Tensor head = model.head(compute).detach();  // (V, C)
  std::vector<at::Tensor> own = {at::empty({0}, at::kDouble)};
  for (const RowRange& rows :
       micro_batches(share(data.rows(), comm.rank(), comm.size()), data.micro_batch)) {
    const Batch batch = data.corpus->read(data.part, 0, rows.begin, rows.size(), data.seq);
    const at::Tensor hidden = model.hidden(batch.tokens.to(device), compute);  // (B, S, C)
    for (int64_t row = 0; row < rows.size(); ++row) {
      const at::Tensor valid = (batch.labels[row] != kIgnoredLabel).nonzero().squeeze(1);  // (n)
      if (valid.numel() == 0) continue;
      const at::Tensor logits =
          at::mm(hidden[row].index_select(0, valid.to(device)), head.t()).to(at::kFloat);  // (n, V)
      own.push_back(sums_of(at::log_softmax(logits / temperature, 1).cpu(),
                            batch.labels[row].index_select(0, valid)));
    }
  }
  return comm.all_gather(at::cat(own)).view({-1, kSequenceSums});  // ranks' rows follow each other
}

MetricIntervals bootstrap(const at::Tensor& sums, int64_t resamples, uint64_t seed) {
  const at::Tensor all = sums.contiguous();  // (R, sums)
  const int64_t sequences = all.size(0);
  TORCH_CHECK_VALUE(sequences >= 2, "an interval over sequences needs 2 of them, not ", sequences,
                    ": raise --evaluate.max-tokens");
  const double* sum = all.const_data_ptr<double>();
  std::vector<double> nll, accuracy, ece, brier;
  RandomStream random{kPurpose, seed};
  std::vector<double> total(static_cast<size_t>(kSequenceSums));
  for (int64_t resample = 0; resample < resamples; ++resample) {
    std::fill(total.begin(), total.end(), 0.0);
    for (int64_t i = 0; i < sequences; ++i) {
      const auto drawn =
          static_cast<int64_t>(random.next() % static_cast<uint64_t>(sequences)) * kSequenceSums;
      for (int64_t j = 0; j < kSequenceSums; ++j) total[static_cast<size_t>(j)] += sum[drawn + j];
    }
    const Values values = values_of(total.data());
    nll.push_back(values.nll);
    accuracy.push_back(values.accuracy);
    ece.push_back(values.ece);
    brier.push_back(values.brier);
  }
  return {.nll = middle(nll),
          .accuracy = middle(accuracy),
          .ece = middle(ece),
          .brier = middle(brier),
          .sequences = sequences,
          .resamples = resamples};
}

}  // namespace temper
