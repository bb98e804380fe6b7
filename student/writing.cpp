#include "student/writing.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <vector>

#include "comm/placement.h"
#include "model/logits_chunk.h"

namespace temper {
namespace {

constexpr int64_t kGram = 4;

/// Σ −log p(label) over the labels that count.
double nll_of(const Transformer& model, const Batch& batch, at::ScalarType compute) {
  const at::Device device = model.flat_weights().device();
  const at::Tensor hidden = model.hidden(batch.tokens.to(device), compute).flatten(0, 1);  // (N, C)
  const at::Tensor head = model.head(compute).detach();                                    // (V, C)
  const at::Tensor labels = batch.labels.to(device).reshape(-1);                           // (N)
  const at::Tensor valid = (labels != kIgnoredLabel).nonzero().squeeze(1);  // (valid)
  const int64_t chunk = logits_chunk(head.size(0));
  double sum = 0;
  for (const at::Tensor& index : valid.split(chunk)) {
    if (index.numel() == 0) continue;
    const at::Tensor logits =
        at::mm(hidden.index_select(0, index), head.t()).to(at::kFloat);  // (n, V)
    sum += at::cross_entropy_loss(logits, labels.index_select(0, index), {}, at::Reduction::Sum)
               .item<double>();
  }
  return sum;
}

}  // namespace

Repeats repeated_ngrams(const int64_t* ids, int64_t count, int64_t n) {
  Repeats result;
  std::set<std::vector<int64_t>> seen;
  for (int64_t i = 0; i + n <= count; ++i) {
    ++result.all;
    if (!seen.insert({ids + i, ids + i + n}).second) ++result.repeated;
  }
  return result;
}

WritingQuality judge_writing(const Transformer& model, const Transformer* teacher,
                             const HeldOut& data, const FreeRunningConfig& config, int64_t rows,
                             uint64_t seed, at::ScalarType compute, const Communicator& comm) {
  const at::NoGradGuard no_grad;
  rows = std::min(rows, data.rows());
  const int64_t prompt = config.prompt_tokens(data.seq);
  const at::Tensor sums = at::zeros({8}, at::kDouble);
  for (const RowRange& part :
       micro_batches(share(rows, comm.rank(), comm.size()), data.micro_batch)) {
    Batch given = data.corpus->read(data.part, 0, part.begin, part.size(), data.seq);
    const Batch own =
        write_rows(model, compute, config, given,
                   {.seed = seed, .first_row = part.begin, .vocab = data.corpus->vocab()});
    // The same places of the corpus's text.
    given.labels = at::where(own.labels == kIgnoredLabel, own.labels, given.labels);
    Repeats repeats;
    for (int64_t row = 0; row < part.size(); ++row) {
      const int64_t* ids = own.tokens.const_data_ptr<int64_t>() + row * data.seq + prompt;
      const Repeats each = repeated_ngrams(ids, data.seq - prompt, kGram);
      repeats.repeated += each.repeated;
      repeats.all += each.all;
    }
    const auto count = [](const Batch& batch) {
      return (batch.labels != kIgnoredLabel).sum().item<double>();
    };
    sums.add_(at::tensor(
        {count(own), nll_of(model, own, compute),
         teacher != nullptr ? nll_of(*teacher, own, compute) : 0.0, count(given),
         nll_of(model, given, compute), teacher != nullptr ? nll_of(*teacher, given, compute) : 0.0,
         static_cast<double>(repeats.repeated), static_cast<double>(repeats.all)},
        at::kDouble));
  }
  comm.all_reduce(sums);
  const double* sum = sums.const_data_ptr<double>();
  WritingQuality quality;
  quality.rows = rows;
  quality.tokens = static_cast<int64_t>(sum[0]);
  quality.nll = sum[1] / sum[0];
  quality.corpus_nll = sum[4] / std::max(1.0, sum[3]);
  if (teacher != nullptr) {
    quality.teacher_nll = sum[2] / sum[0];
    quality.teacher_corpus_nll = sum[5] / std::max(1.0, sum[3]);
  }
  quality.repeated = sum[7] > 0 ? sum[6] / sum[7] : 0;
  return quality;
}

}  // namespace temper
