#include "teacher/inference.h"

#include <ATen/ATen.h>

#include <algorithm>

namespace temper {

TeacherInference::TeacherInference(const Transformer& model, at::ScalarType compute,
                                   at::ScalarType payload_dtype)
    : model_(model),
      compute_(compute),
      payload_dtype_(payload_dtype),
      head_(model.head().detach().to(compute)) {}

void TeacherInference::logits(const at::Tensor& tokens, at::Tensor& out) const {
  const at::NoGradGuard no_grad;
  const at::Device device = model_.flat_weights().device();
  const at::Tensor hidden = model_.hidden(tokens.to(device), compute_).flatten(0, 1);  // (N, C)
  if (payload_dtype_ == compute_ && device.is_cpu()) {
    at::mm_out(out, hidden, head_.t());  // (N, V)
    return;
  }
  const int64_t chunk = std::max<int64_t>(16, (int64_t{4} << 20) / vocab());
  for (int64_t begin = 0; begin < hidden.size(0); begin += chunk) {
    const int64_t n = std::min(chunk, hidden.size(0) - begin);
    out.narrow(0, begin, n).copy_(at::mm(hidden.narrow(0, begin, n), head_.t()));  // (n, V)
  }
}

at::Tensor LocalSoftTargets::logits(const MicroBatchId&, const at::Tensor& tokens) {
  const int64_t count = tokens.numel();
  if (!buffer_.defined() || buffer_.size(0) < count) {
    buffer_ = at::empty({count, inference_.vocab()}, inference_.payload_dtype());  // (N, V)
  }
  at::Tensor out = buffer_.narrow(0, 0, count);  // (N, V)
  inference_.logits(tokens, out);
  return out;
}

}  // namespace temper
