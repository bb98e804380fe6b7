#include "student/evaluation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "comm/placement.h"

namespace temper {

int64_t HeldOut::rows() const {
  const int64_t rows = std::min(corpus->rows(part, seq), std::max<int64_t>(1, max_tokens / seq));
  TORCH_CHECK_VALUE(rows > 0, "the ", part_name(part), " part holds no row of ", seq, " tokens (",
                    corpus->describe(), "): give more text, a larger data.", part_name(part),
                    "-share, or a shorter train.seq");
  return rows;
}

void for_each_logits(
    const Transformer& model, const HeldOut& data, at::ScalarType compute, const Communicator& comm,
    const std::function<void(const at::Tensor& logits, const at::Tensor& labels)>& use) {
  const at::NoGradGuard no_grad;
  const at::Device device = model.flat_weights().device();
  const at::Tensor head = model.head().detach().to(compute);  // (V, C)
  const int64_t chunk = std::max<int64_t>(16, (int64_t{4} << 20) / head.size(0));
  for (const RowRange& rows :
       micro_batches(share(data.rows(), comm.rank(), comm.size()), data.micro_batch)) {
    const Batch batch = data.corpus->read(data.part, 0, rows.begin, rows.size(), data.seq);
    const at::Tensor hidden =
        model.hidden(batch.tokens.to(device), compute).flatten(0, 1);         // (N, C)
    const at::Tensor labels = batch.labels.to(device).reshape(-1);            // (N)
    const at::Tensor valid = (labels != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
    for (const at::Tensor& index : valid.split(chunk)) {
      if (index.numel() == 0) continue;
      const at::Tensor logits =
          at::mm(hidden.index_select(0, index), head.t()).to(at::kFloat);  // (n, V)
      use(logits, labels.index_select(0, index));
    }
  }
}

std::vector<Metrics> evaluate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                              const Communicator& comm, const std::vector<double>& temperatures) {
  std::vector<MetricsAccumulator> accumulators(temperatures.begin(), temperatures.end());
  for_each_logits(model, data, compute, comm,
                  [&](const at::Tensor& logits, const at::Tensor& labels) {
                    for (MetricsAccumulator& accumulator : accumulators)
                      accumulator.add(logits, labels);
                  });
  std::vector<Metrics> result;
  for (const MetricsAccumulator& accumulator : accumulators)
    result.push_back(accumulator.finish(comm));
  return result;
}

CalibrationFit calibrate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                         const Communicator& comm) {
  return fit_temperature([&](double beta) {
    CalibrationSums sums;
    for_each_logits(model, data, compute, comm,
                    [&](const at::Tensor& logits, const at::Tensor& labels) {
                      sums += calibration_sums(logits, labels, beta);
                    });
    const at::Tensor totals =
        at::tensor({sums.nll, sums.slope, sums.curvature, static_cast<double>(sums.tokens)},
                   at::kDouble);  // (4)
    comm.all_reduce(totals);
    const double* total = totals.const_data_ptr<double>();
    return CalibrationSums{total[0], total[1], total[2], static_cast<int64_t>(total[3])};
  });
}

std::optional<double> floor_nll(const HeldOut& data, const Communicator& comm) {
  double sum = 0;
  int64_t tokens = 0;
  bool known = true;
  for (const RowRange& rows : micro_batches(share(data.rows(), comm.rank(), comm.size()), 64)) {
    const Batch batch = data.corpus->read(data.part, 0, rows.begin, rows.size(), data.seq);
    const at::Tensor log_p = data.corpus->true_log_probs(batch);  // (B, S)
    known = known && log_p.defined();
    if (!known) break;
    sum -= log_p.sum().item<double>();
    tokens += (batch.labels != kIgnoredLabel).sum().item<int64_t>();
  }
  if (comm.all_reduce(static_cast<int64_t>(known), Reduce::kMin) == 0) return std::nullopt;
  return comm.all_reduce(sum) / static_cast<double>(comm.all_reduce(tokens));
}

}  // namespace temper
