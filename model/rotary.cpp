#include "model/rotary.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace temper {

namespace {

// frequencies (D/2), radians per position -> the same shape, scaled.
at::Tensor scaled(const at::Tensor& frequencies, const RopeScaling& scaling) {
  if (scaling.kind == RopeScaling::Kind::kNone) return frequencies;
  const at::Tensor low = frequencies / scaling.factor;  // (D/2)
  if (scaling.kind == RopeScaling::Kind::kLinear) return low;
  // How often a wave turns within the positions of pre-training decides.
  const auto original = static_cast<double>(scaling.original_positions);
  const at::Tensor turns = frequencies * (original / (2 * M_PI));  // (D/2)
  const double range = scaling.high_freq_factor - scaling.low_freq_factor;
  const at::Tensor kept = ((turns - scaling.low_freq_factor) / range).clamp(0, 1);  // (D/2)
  return (1 - kept) * low + kept * frequencies;                                     // (D/2)
}

}  // namespace

RotaryTable::RotaryTable(int64_t positions, int64_t head_width, double theta,
                         const RopeScaling& scaling)
    : positions_(positions), head_width_(head_width), theta_(theta), scaling_(scaling) {}

RotaryTable::Angles RotaryTable::angles(int64_t seq, at::ScalarType dtype, at::Device device) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool fits = kept_.cos.defined() && kept_.cos.size(0) >= seq &&
                    kept_.cos.scalar_type() == dtype && kept_.cos.device() == device;
  if (!fits) {
    // The table outlives this call, which may run in inference mode; tensors made in it could not
    // be saved for backward.
    const c10::InferenceMode normal_tensors(false);
    const at::NoGradGuard no_grad;
    const int64_t length = std::min(positions_, std::max<int64_t>(2 * seq, 256));
    const auto options = at::TensorOptions().dtype(dtype);
    const at::Tensor exponents =
        at::arange(0, head_width_, 2, options) / static_cast<double>(head_width_);  // (D/2)
    const at::Tensor frequencies =
        scaled(at::pow(theta_, exponents).reciprocal(), scaling_);   // (D/2)
    const at::Tensor positions = at::arange(0, length, options);     // (S')
    const at::Tensor phases = positions.unsqueeze(1) * frequencies;  // (S', D/2)
    kept_ = {phases.cos().to(device), phases.sin().to(device)};
  }
  return {kept_.cos.narrow(0, 0, seq), kept_.sin.narrow(0, 0, seq)};  // (S, D/2) each
}

AttentionInput split_heads(const at::Tensor& qkv, const HeadShape& shape,
                           const RotaryTable::Angles& angles, const at::Tensor& query_norm,
                           const at::Tensor& key_norm, bool repeat) {
  TORCH_INTERNAL_ASSERT(qkv.size(0) == shape.sequences * shape.positions);
  TORCH_INTERNAL_ASSERT(qkv.size(1) == (shape.heads + 2 * shape.kv_heads) * shape.head_width);
  const int64_t half = shape.head_width / 2;
  const int64_t group = shape.heads / shape.kv_heads;
  const at::Tensor heads =
      qkv.view({shape.sequences, shape.positions, -1, shape.head_width});  // (B, S, H + 2·kv, D)
  const std::vector<at::Tensor> parts =
      heads.split_with_sizes({shape.heads, shape.kv_heads, shape.kv_heads}, 2);
  if (!angles.cos.defined()) {
    TORCH_INTERNAL_ASSERT(!query_norm.defined() && (!repeat || group == 1));
    return {parts[0].transpose(1, 2), parts[1].transpose(1, 2), parts[2].transpose(1, 2)};
  }
  const at::Tensor cos = angles.cos.unsqueeze(-2);  // (S, 1, D/2) or (B, S, 1, D/2)
  const at::Tensor sin = angles.sin.unsqueeze(-2);  // (S, 1, D/2) or (B, S, 1, D/2)
  const auto normed_and_turned = [&](const at::Tensor& part, const at::Tensor& weight) {
    at::Tensor wide = part.to(cos.scalar_type());  // (B, S, h, D)
    if (weight.defined()) {
      const at::Tensor scale =
          (wide.square().mean(-1, /*keepdim=*/true) + shape.norm_eps).rsqrt();  // (B, S, h, 1)
      wide = wide * scale * weight;                                             // (B, S, h, D)
    }
    const at::Tensor first = wide.narrow(-1, 0, half);      // (B, S, h, D/2)
    const at::Tensor second = wide.narrow(-1, half, half);  // (B, S, h, D/2)
    return at::cat({first * cos - second * sin, second * cos + first * sin}, -1)
        .to(qkv.scalar_type());  // (B, S, h, D)
  };
  const auto repeated = [&](const at::Tensor& part) {
    return group == 1 || !repeat ? part : part.repeat_interleave(group, 2);  // (B, S, H, D)
  };
  return {normed_and_turned(parts[0], query_norm).transpose(1, 2),
          repeated(normed_and_turned(parts[1], key_norm)).transpose(1, 2),
          repeated(parts[2]).transpose(1, 2)};  // (B, H, S, D)
}

}  // namespace temper
