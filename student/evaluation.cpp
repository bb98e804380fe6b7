#include "student/evaluation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "comm/placement.h"
#include "model/logits_chunk.h"
#include "student/divergence.h"

namespace temper {

int64_t HeldOut::rows() const {
  const int64_t rows = std::min(corpus->rows(part, seq), std::max<int64_t>(1, max_tokens / seq));
  TORCH_CHECK_VALUE(rows > 0, "the ", part_name(part), " part holds no row of ", seq, " tokens (",
                    corpus->describe(), "): give more text, a larger data.", part_name(part),
                    "-share, or a shorter train.seq");
  return rows;
}

namespace {

// A rank that is asked to stop leaves its pass; the others learn of it here, after theirs.
void agree_to_go_on(const HeldOut& data, const Communicator& comm) {
  if (!data.asked_to_stop) return;
  const auto stop = static_cast<int64_t>(data.asked_to_stop());
  if (comm.all_reduce(stop, Reduce::kMax) != 0) throw EvaluationStopped("asked to stop");
}

using LogitsOfEach = std::vector<at::Tensor>;  // one (n, V) float32 for each model

void for_each_logits_of(
    const std::vector<const Transformer*>& models, const HeldOut& data, at::ScalarType compute,
    const Communicator& comm,
    const std::function<void(const LogitsOfEach& logits, const at::Tensor& labels)>& use) {
  const at::NoGradGuard no_grad;
  const at::Device device = models.front()->flat_weights().device();
  std::vector<at::Tensor> heads;  // each (V, C)
  for (const Transformer* model : models) heads.push_back(model->head().detach().to(compute));
  const int64_t chunk = logits_chunk(heads.front().size(0));
  for (const RowRange& rows :
       micro_batches(share(data.rows(), comm.rank(), comm.size()), data.micro_batch)) {
    if (data.asked_to_stop && data.asked_to_stop()) return;
    const Batch batch = data.corpus->read(data.part, 0, rows.begin, rows.size(), data.seq);
    const at::Tensor tokens = batch.tokens.to(device);  // (B, S)
    std::vector<at::Tensor> hidden;                     // each (N, C)
    for (const Transformer* model : models)
      hidden.push_back(model->hidden(tokens, compute).flatten(0, 1));
    const at::Tensor labels = batch.labels.to(device).reshape(-1);            // (N)
    const at::Tensor valid = (labels != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
    for (const at::Tensor& index : valid.split(chunk)) {
      if (index.numel() == 0) continue;
      LogitsOfEach logits;
      for (size_t i = 0; i < models.size(); ++i)
        logits.push_back(
            at::mm(hidden[i].index_select(0, index), heads[i].t()).to(at::kFloat));  // (n, V)
      use(logits, labels.index_select(0, index));
    }
  }
}

}  // namespace

void for_each_logits(
    const Transformer& model, const HeldOut& data, at::ScalarType compute, const Communicator& comm,
    const std::function<void(const at::Tensor& logits, const at::Tensor& labels)>& use) {
  for_each_logits_of(
      {&model}, data, compute, comm,
      [&](const LogitsOfEach& logits, const at::Tensor& labels) { use(logits.front(), labels); });
}

Agreement compare_with_teacher(const Transformer& student, const Transformer& teacher,
                               const HeldOut& data, at::ScalarType compute,
                               const Communicator& comm) {
  const at::Tensor sums = at::zeros({3}, at::kDouble);  // Σ KL, same arg max, tokens
  const int64_t ids = data.corpus->vocab();
  for_each_logits_of(
      {&student, &teacher}, data, compute, comm,
      [&](const LogitsOfEach& logits, const at::Tensor& labels) {
        const at::Tensor p = logits[0].narrow(1, 0, ids),
                         q = logits[1].narrow(1, 0, ids);  // (n, ids)
        const double kl =
            divergence_part(Divergence::kForwardKl, 0, at::log_softmax(p, 1), at::log_softmax(q, 1))
                .sum();
        const double same = (p.argmax(1) == q.argmax(1)).sum().item<double>();
        sums.add_(at::tensor({kl, same, static_cast<double>(labels.numel())}, at::kDouble));
      });
  comm.all_reduce(sums);
  const double* sum = sums.const_data_ptr<double>();
  return {sum[0] / sum[2], sum[1] / sum[2], static_cast<int64_t>(sum[2])};
}

std::vector<Metrics> evaluate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                              const Communicator& comm, const std::vector<double>& temperatures,
                              NllCurve* curve) {
  std::vector<MetricsAccumulator> accumulators(temperatures.begin(), temperatures.end());
  for_each_logits(model, data, compute, comm,
                  [&](const at::Tensor& logits, const at::Tensor& labels) {
                    for (MetricsAccumulator& accumulator : accumulators)
                      accumulator.add(logits, labels);
                    if (curve != nullptr) curve->add(logits, labels);
                  });
  agree_to_go_on(data, comm);
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
    agree_to_go_on(data, comm);
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
