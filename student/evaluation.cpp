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

void agree_to_go_on(const HeldOut& data, const Communicator& comm) {
  if (!data.asked_to_stop) return;
  const auto stop = static_cast<int64_t>(data.asked_to_stop());
  if (comm.all_reduce(stop, Reduce::kMax) != 0) throw EvaluationStopped("asked to stop");
}

namespace {

/// Chunks of `models`' logits over the same tokens: `others` are those of all but the first.
void for_each_logits_of(const std::vector<const Transformer*>& models, const HeldOut& data,
                        at::ScalarType compute, const Communicator& comm,
                        const std::function<void(const LogitsChunk& chunk,
                                                 const std::vector<at::Tensor>& others)>& use) {
  const at::NoGradGuard no_grad;
  const at::Device device = models.front()->flat_weights().device();
  std::vector<at::Tensor> heads;  // each (V, C)
  for (const Transformer* model : models) heads.push_back(model->head().detach().to(compute));
  const int64_t size = logits_chunk(heads.front().size(0));
  for (const RowRange& rows :
       micro_batches(share(data.rows(), comm.rank(), comm.size()), data.micro_batch)) {
    if (data.asked_to_stop && data.asked_to_stop()) return;
    const Batch batch = data.corpus->read(data.part, 0, rows.begin, rows.size(), data.seq);
    const at::Tensor tokens = batch.tokens.to(device);  // (B, S)
    std::vector<at::Tensor> hidden;                     // each (N, C)
    for (const Transformer* model : models)
      hidden.push_back(model->hidden(tokens, compute).flatten(0, 1));
    const at::Tensor labels = batch.labels.reshape(-1);                       // (N)
    const at::Tensor valid = (labels != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
    for (const at::Tensor& places : valid.split(size)) {
      if (places.numel() == 0) continue;
      const at::Tensor index = places.to(device);  // (n)
      std::vector<at::Tensor> logits;              // each (n, V)
      for (size_t i = 0; i < models.size(); ++i)
        logits.push_back(
            at::mm(hidden[i].index_select(0, index), heads[i].t()).to(at::kFloat));  // (n, V)
      LogitsChunk chunk;
      chunk.logits = logits.front();
      chunk.labels = labels.index_select(0, places).to(device);
      chunk.sequences = places.floor_divide(data.seq).add_(rows.begin);
      chunk.positions = places.remainder(data.seq);
      chunk.tokens = batch.tokens;
      chunk.first_row = rows.begin;
      logits.erase(logits.begin());
      use(chunk, logits);
    }
  }
}

/// The distribution that wrote each token of the chunk: (n, ids) float64 on the CPU; undefined
/// where it is not known.
at::Tensor truth_of(const LogitsChunk& chunk, const Corpus& corpus) {
  const int64_t* row = chunk.sequences.const_data_ptr<int64_t>();
  const int64_t* position = chunk.positions.const_data_ptr<int64_t>();
  const int64_t count = chunk.sequences.numel();
  std::vector<at::Tensor> parts;  // each (n', ids)
  for (int64_t begin = 0, end = 0; begin < count; begin = end) {
    while (end < count && row[end] == row[begin]) ++end;
    const int64_t first = position[begin];
    const at::Tensor all =
        corpus.true_distribution(chunk.tokens[row[begin] - chunk.first_row], first,
                                 position[end - 1] + 1 - first);  // (positions, ids)
    if (!all.defined()) return {};
    parts.push_back(all.index_select(0, chunk.positions.slice(0, begin, end) - first));
  }
  return at::cat(parts);
}

}  // namespace

void for_each_logits(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                     const Communicator& comm,
                     const std::function<void(const LogitsChunk& chunk)>& use) {
  for_each_logits_of({&model}, data, compute, comm,
                     [&](const LogitsChunk& chunk, const std::vector<at::Tensor>&) { use(chunk); });
}

Agreement compare_with_teacher(const Transformer& student, const Transformer& teacher,
                               const HeldOut& data, at::ScalarType compute,
                               const Communicator& comm) {
  const at::Tensor sums = at::zeros({3}, at::kDouble);  // Σ KL, same arg max, tokens
  const int64_t ids = data.corpus->vocab();
  for_each_logits_of(
      {&student, &teacher}, data, compute, comm,
      [&](const LogitsChunk& chunk, const std::vector<at::Tensor>& others) {
        const at::Tensor p = chunk.logits.narrow(1, 0, ids),
                         q = others[0].narrow(1, 0, ids);  // (n, ids)
        const double kl =
            divergence_part(Divergence::kForwardKl, 0, at::log_softmax(p, 1), at::log_softmax(q, 1))
                .sum();
        const double same = (p.argmax(1) == q.argmax(1)).sum().item<double>();
        sums.add_(at::tensor({kl, same, static_cast<double>(p.size(0))}, at::kDouble));
      });
  agree_to_go_on(data, comm);
  comm.all_reduce(sums);
  const double* sum = sums.const_data_ptr<double>();
  return {sum[0] / sum[2], sum[1] / sum[2], static_cast<int64_t>(sum[2])};
}

std::vector<Metrics> evaluate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                              const Communicator& comm, const std::vector<double>& temperatures,
                              NllCurve* curve) {
  std::vector<MetricsAccumulator> accumulators(temperatures.begin(), temperatures.end());
  ExactAccumulator exact(temperatures);
  bool known = true;
  for_each_logits(model, data, compute, comm, [&](const LogitsChunk& chunk) {
    for (MetricsAccumulator& accumulator : accumulators)
      accumulator.add(chunk.logits, chunk.labels, chunk.sequences);
    if (curve != nullptr) curve->add(chunk.logits, chunk.labels);
    const at::Tensor truth = truth_of(chunk, *data.corpus);  // (n, ids)
    known = known && truth.defined();
    if (known) exact.add(chunk.logits.cpu(), truth);
  });
  agree_to_go_on(data, comm);
  std::vector<Metrics> result;
  for (const MetricsAccumulator& accumulator : accumulators)
    result.push_back(accumulator.finish(comm));
  if (comm.all_reduce(static_cast<int64_t>(known), Reduce::kMin) == 0) return result;
  const std::vector<ExactMetrics> exact_metrics = exact.finish(comm);
  for (size_t i = 0; i < result.size(); ++i) result[i].exact = exact_metrics[i];
  return result;
}

CalibrationFit calibrate(const Transformer& model, const HeldOut& data, at::ScalarType compute,
                         const Communicator& comm) {
  return fit_temperature([&](double beta) {
    CalibrationSums sums;
    for_each_logits(model, data, compute, comm, [&](const LogitsChunk& chunk) {
      sums += calibration_sums(chunk.logits, chunk.labels, beta);
    });
    agree_to_go_on(data, comm);
    return all_reduce({sums}, comm).front();
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
