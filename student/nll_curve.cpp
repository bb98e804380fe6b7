#include "student/nll_curve.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

namespace temper {

namespace {

constexpr size_t kOctave = 6;  // points between β and 2β
// Rows are taken in pieces that stay in a core's cache while they are squared again and again.
constexpr int64_t kPieceLogits = int64_t{1} << 18;

}  // namespace

NllCurve::NllCurve(double centre) {
  for (size_t i = 0; i < kPoints; ++i)
    betas_[i] = std::exp2(static_cast<double>(i) / kOctave) / (4 * centre);
}

void NllCurve::add(const at::Tensor& logits, const at::Tensor& labels) {
  const at::NoGradGuard no_grad;
  const int64_t rows = std::max<int64_t>(1, kPieceLogits / logits.size(1));
  for (int64_t begin = 0; begin < logits.size(0); begin += rows) {
    const int64_t count = std::min(rows, logits.size(0) - begin);
    const at::Tensor piece = logits.narrow(0, begin, count);               // (n, V)
    const at::Tensor z = piece - piece.amax(1, /*keepdim=*/true);          // (n, V), all ≤ 0
    const at::Tensor index = labels.narrow(0, begin, count).unsqueeze(1);  // (n, 1)
    const double label = z.gather(1, index).sum(at::kDouble).item<double>();
    for (size_t first = 0; first < kOctave; ++first) {
      const at::Tensor power = (z * betas_[first]).exp_();  // (n, V); the largest of a row is 1
      for (size_t i = first; i < kPoints; i += kOctave) {
        if (i != first) power.square_();
        sums_[i] += power.sum(1).log_().sum(at::kDouble).item<double>() - betas_[i] * label;
      }
    }
  }
  tokens_ += logits.size(0);
}

std::vector<NllPoint> NllCurve::finish(const Communicator& comm) const {
  const int64_t tokens = comm.all_reduce(tokens_);
  TORCH_CHECK_VALUE(tokens > 0, "there is no valid token to draw the likelihood of");
  std::vector<NllPoint> points;
  for (size_t i = kPoints; i-- > 0;)
    points.push_back({1 / betas_[i], comm.all_reduce(sums_[i]) / static_cast<double>(tokens)});
  return points;
}

}  // namespace temper
