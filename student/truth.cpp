#include "student/truth.h"

#include <ATen/ATen.h>

#include <cmath>

#include "comm/placement.h"
#include "student/metrics.h"

namespace temper {

std::optional<Truth> compare_with_truth(const Transformer& model, const HeldOut& data,
                                        double temperature, at::ScalarType compute,
                                        const Communicator& comm) {
  const at::NoGradGuard no_grad;
  const at::Device device = model.flat_weights().device();
  const at::Tensor head = model.head(compute).detach();  // (V, C)
  const at::Tensor sums = at::zeros({4}, at::kDouble);   // tokens, KL, H(π), H(p)
  const at::Tensor bins =
      at::zeros({2, kCalibrationBins}, at::kDouble);  // Σ p, Σ π of the likeliest id
  bool known = true;
  for (const RowRange& rows :
       micro_batches(share(data.rows(), comm.rank(), comm.size()), data.micro_batch)) {
    const Batch batch = data.corpus->read(data.part, 0, rows.begin, rows.size(), data.seq);
    const at::Tensor hidden = model.hidden(batch.tokens.to(device), compute);  // (B, S, C)
    for (int64_t row = 0; row < rows.size() && known; ++row) {
      const at::Tensor truth = data.corpus->true_distribution(batch.tokens[row]);  // (S, ids)
      known = truth.defined();
      if (!known) break;
      const at::Tensor valid =
          (batch.labels[row] != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
      const at::Tensor pi = truth.index_select(0, valid);             // (n, ids)
      const at::Tensor logits =
          at::mm(hidden[row].index_select(0, valid.to(device)), head.t()).cpu();          // (n, V)
      const at::Tensor log_p = at::log_softmax(logits.to(at::kDouble) / temperature, 1);  // (n, V)
      const at::Tensor p = log_p.exp();                                                   // (n, V)
      const auto sum = [](const at::Tensor& terms) { return terms.sum().item<double>(); };
      const at::Tensor of_ids = log_p.narrow(1, 0, pi.size(1));  // (n, ids)
      const at::Tensor log_pi = pi.log();
      sums.add_(at::tensor(
          {static_cast<double>(valid.numel()), sum(at::where(pi > 0, pi * (log_pi - of_ids), 0.0)),
           -sum(at::where(pi > 0, pi * log_pi, 0.0)), -sum(at::where(p > 0, p * log_p, 0.0))},
          at::kDouble));
      const auto [confidence, best] =
          p.narrow(1, 0, pi.size(1)).max(1, /*keepdim=*/true);         // (n, 1)
      const at::Tensor bin = calibration_bins(confidence.squeeze(1));  // (n)
      bins[0].index_add_(0, bin, confidence.squeeze(1));
      bins[1].index_add_(0, bin, pi.gather(1, best).squeeze(1));
    }
  }
  if (comm.all_reduce(static_cast<int64_t>(known), Reduce::kMin) == 0) return std::nullopt;
  comm.all_reduce(sums);
  comm.all_reduce(bins);
  const double* each = sums.const_data_ptr<double>();
  Truth truth;
  truth.tokens = static_cast<int64_t>(each[0]);
  truth.kl = each[1] / each[0];
  truth.entropy = each[2] / each[0];
  truth.model_entropy = each[3] / each[0];
  truth.calibration_error = (bins[0] - bins[1]).abs().sum().item<double>() / each[0];
  return truth;
}

}  // namespace temper
