#include "student/position_calibration.h"

#include <ATen/ATen.h>

namespace temper {

namespace {

/// Calls `use` with each bucket's tokens, a chunk at a time. Throws EvaluationStopped. Collective.
void for_each_bucket(const Transformer& model, const HeldOut& data,
                     const std::vector<PositionBucket>& buckets, at::ScalarType compute,
                     const Communicator& comm,
                     const std::function<void(size_t bucket, const at::Tensor& logits,
                                              const at::Tensor& labels)>& use) {
  for_each_logits(model, data, compute, comm, [&](const LogitsChunk& chunk) {
    for (size_t i = 0; i < buckets.size(); ++i) {
      const at::Tensor inside =
          (chunk.positions >= buckets[i].begin).logical_and_(chunk.positions < buckets[i].end);
      const at::Tensor index =
          inside.nonzero().squeeze(1).to(chunk.logits.device());  // (tokens of the bucket)
      if (index.numel() == 0) continue;
      use(i, chunk.logits.index_select(0, index), chunk.labels.index_select(0, index));
    }
  });
  agree_to_go_on(data, comm);
}

}  // namespace

std::vector<PositionBucket> calibrate_by_position(const Transformer& model, const HeldOut& fit_part,
                                                  const HeldOut& test_part, int64_t buckets,
                                                  double single, at::ScalarType compute,
                                                  const Communicator& comm) {
  const auto count = static_cast<size_t>(buckets);
  std::vector<PositionBucket> result(count);
  for (int64_t i = 0; i < buckets; ++i) {
    result[static_cast<size_t>(i)].begin = fit_part.seq * i / buckets;
    result[static_cast<size_t>(i)].end = fit_part.seq * (i + 1) / buckets;
  }

  std::vector<TemperatureSearch> searches(count);
  std::vector<bool> empty(count, false);
  const auto runs = [&](size_t i) { return !searches[i].done() && !empty[i]; };
  for (bool more = true; more;) {
    std::vector<CalibrationSums> sums(count);
    for_each_bucket(model, fit_part, result, compute, comm,
                    [&](size_t i, const at::Tensor& logits, const at::Tensor& labels) {
                      if (runs(i)) sums[i] += calibration_sums(logits, labels, searches[i].beta());
                    });
    sums = all_reduce(sums, comm);
    more = false;
    for (size_t i = 0; i < count; ++i) {
      if (!runs(i)) continue;
      empty[i] = sums[i].tokens == 0;
      if (!empty[i]) searches[i].take(sums[i]);
      more = more || runs(i);
    }
  }
  for (size_t i = 0; i < count; ++i) {
    result[i].fit = searches[i].fit();
    if (empty[i]) result[i].fit.undetermined = true;
  }

  std::vector<CalibrationSums> nll(3 * count);  // at T = 1, the one T, the bucket's own T
  for_each_bucket(model, test_part, result, compute, comm,
                  [&](size_t i, const at::Tensor& logits, const at::Tensor& labels) {
                    const double betas[] = {1.0, 1 / single, 1 / result[i].fit.temperature};
                    for (size_t k = 0; k < 3; ++k)
                      nll[3 * i + k] += calibration_sums(logits, labels, betas[k]);
                  });
  nll = all_reduce(nll, comm);
  for (size_t i = 0; i < count; ++i) {
    PositionBucket& bucket = result[i];
    bucket.tokens = nll[3 * i].tokens;
    if (bucket.tokens == 0) continue;
    const auto tokens = static_cast<double>(bucket.tokens);
    bucket.nll_before = nll[3 * i].nll / tokens;
    bucket.nll_single = nll[3 * i + 1].nll / tokens;
    bucket.nll_after = nll[3 * i + 2].nll / tokens;
  }
  return result;
}

}  // namespace temper
