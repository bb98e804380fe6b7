#include "teacher/payload_encoder.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>

#include "data/random.h"

namespace temper {
namespace {

void encode_topk(const at::Tensor& log_q, const PayloadSpec& spec, int64_t begin,
                 const PayloadView& out) {
  const int64_t n = log_q.size(0);
  const auto [values, ids] = at::topk(log_q, spec.entries, 1);  // (n, K) each
  // Summed over the tail itself: 1 minus the top would lose a small tail to rounding.
  const at::Tensor tail =
      at::logsumexp(log_q.scatter(1, ids, -std::numeric_limits<double>::infinity()), 1);  // (n)
  out.scalars.select(1, 0).narrow(0, begin, n).copy_(tail);
  out.write_values(begin, values);
  pack_ids(ids, spec, out.ids.narrow(0, begin, n));
}

void encode_sample(const at::Tensor& log_q, const PayloadSpec& spec,
                   const std::vector<double>& uniform, int64_t begin, const PayloadView& out) {
  const int64_t n = log_q.size(0), draws = spec.entries;
  const at::Tensor q = log_q.exp();  // (n, V)
  // A NaN stays one, and so is seen by check_soft_targets(): ids cannot tell it.
  out.scalars.select(1, 0).narrow(0, begin, n).copy_(-at::where(q == 0, 0.0, q * log_q).sum(1));
  const at::Tensor heights = q.to(at::kDouble).cumsum(1);  // (n, V)
  // The sum is not exactly 1 in floating point.
  const at::Tensor step = heights.narrow(1, spec.vocab - 1, 1) / static_cast<double>(draws);
  const at::Tensor first = at::tensor(uniform, at::kDouble).to(q.device()).unsqueeze(1);  // (n, 1)
  const at::Tensor places =
      (first + at::arange(draws, heights.options()).unsqueeze(0)) * step;  // (n, draws)
  // The first id whose height is above the place.
  const at::Tensor ids = at::searchsorted(heights, places, /*out_int32=*/false, /*right=*/true)
                             .clamp_max_(spec.vocab - 1);  // (n, draws)
  pack_ids(ids, spec, out.ids.narrow(0, begin, n));
}

}  // namespace

void encode_payload(const at::Tensor& logits, const PayloadSpec& spec, double temperature,
                    const std::vector<double>& uniform, int64_t begin, const PayloadView& out) {
  TORCH_INTERNAL_ASSERT(spec.kind != Payload::kHidden && logits.size(1) == spec.vocab);
  if (spec.kind == Payload::kFull) {
    out.write_values(begin, logits);
    return;
  }
  const at::Tensor log_q = at::log_softmax(logits.to(at::kFloat) / temperature, 1);  // (n, V)
  if (spec.kind == Payload::kTopk) {
    encode_topk(log_q, spec, begin, out);
    return;
  }
  TORCH_INTERNAL_ASSERT(static_cast<int64_t>(uniform.size()) == logits.size(0));
  encode_sample(log_q, spec, uniform, begin, out);
}

std::vector<double> draw_uniform(uint64_t seed, int64_t step, int64_t first_row, int64_t rows,
                                 int64_t seq) {
  constexpr uint64_t kPurpose = 0x647261775f757361;  // no other stream has this key
  std::vector<double> uniform;
  uniform.reserve(static_cast<size_t>(rows * seq));
  for (int64_t row = first_row; row < first_row + rows; ++row) {
    RandomStream random{kPurpose, seed, static_cast<uint64_t>(step), static_cast<uint64_t>(row)};
    for (int64_t position = 0; position < seq; ++position) {
      uniform.push_back(static_cast<double>(random.next() >> 11) * 0x1p-53);
    }
  }
  return uniform;
}

}  // namespace temper
