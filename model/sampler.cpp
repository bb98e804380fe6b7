#include "model/sampler.h"

#include <ATen/ATen.h>

#include <cmath>

#include "data/random.h"

namespace temper {
namespace {

std::vector<int64_t> to_vector(const at::Tensor& ids) {
  const at::Tensor here = ids.to(at::kCPU).contiguous();  // (R)
  const int64_t* data = here.const_data_ptr<int64_t>();
  return {data, data + here.numel()};
}

}  // namespace

std::vector<int64_t> likeliest_tokens(const at::Tensor& scores) {
  return to_vector(scores.argmax(-1));  // (R)
}

std::vector<int64_t> sample_tokens(const at::Tensor& scores, const std::vector<DrawKey>& keys) {
  TORCH_INTERNAL_ASSERT(scores.dim() == 2 && scores.size(0) == static_cast<int64_t>(keys.size()));
  const at::Tensor cumulative = at::softmax(scores, -1, at::kDouble).cumsum(-1);  // (R, V)
  const at::Tensor total = cumulative.select(1, cumulative.size(1) - 1).cpu();    // (R)
  std::vector<double> points;
  for (size_t row = 0; row < keys.size(); ++row) {
    const double mass = total.const_data_ptr<double>()[row * static_cast<size_t>(total.stride(0))];
    TORCH_CHECK(std::isfinite(mass) && mass > 0, "no token can be drawn: the model's logits for ",
                "prompt ", keys[row].prompt + 1, " hold no finite number");
    const DrawKey& key = keys[row];
    const uint64_t bits = hash_key({key.seed, key.prompt, key.text, key.step}) >> 11;  // 53 bits
    // Strictly below the total, so that a token with some probability lies above it.
    const double point = static_cast<double>(bits) * 0x1p-53 * mass;
    points.push_back(std::min(point, std::nextafter(mass, 0.0)));
  }
  const at::Tensor wanted =
      at::tensor(points, at::kDouble).unsqueeze(1).to(scores.device());  // (R, 1)
  // The first token whose cumulative probability exceeds the point.
  return to_vector(
      at::searchsorted(cumulative, wanted, /*out_int32=*/false, /*right=*/true).squeeze(1));
}

}  // namespace temper
