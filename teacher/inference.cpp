#include "teacher/inference.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "comm/soft_target_check.h"
#include "teacher/payload_encoder.h"

namespace temper {

TeacherInference::TeacherInference(const Transformer& model, at::ScalarType compute,
                                   const PayloadSpec& payload, RunSchedule temperature,
                                   uint64_t seed)
    : model_(model),
      compute_(compute),
      payload_(payload),
      temperature_(std::move(temperature)),
      seed_(seed),
      head_(model.head(compute)) {}

at::Tensor TeacherInference::hidden(const at::Tensor& tokens,
                                    const std::function<void()>& between) const {
  const at::NoGradGuard no_grad;
  const at::Device device = model_.flat_weights().device();
  return model_.hidden(tokens.to(device), compute_, {.between = between}).flatten(0, 1);  // (N, C)
}

void TeacherInference::soft_targets(const MicroBatchId& id, const at::Tensor& tokens,
                                    const PayloadView& out) const {
  encode(id, hidden(tokens), out);
}

void TeacherInference::encode(const MicroBatchId& id, const at::Tensor& hidden,
                              const PayloadView& out, const std::function<void()>& between) const {
  const at::NoGradGuard no_grad;
  if (payload_.kind == Payload::kHidden) {
    out.write_values(0, hidden);
    return;
  }
  const bool in_place = payload_.kind == Payload::kFull && payload_.dtype == compute_ &&
                        out.values.device() == hidden.device();
  std::vector<double> uniform;
  if (payload_.kind == Payload::kSample)
    uniform = draw_uniform(seed_, id.step, id.first_row, id.rows, hidden.size(0) / id.rows);
  const double temperature = temperature_.at(id.step);
  const int64_t at_a_time = int64_t{on_cpu() ? 4 : 32} << 20;  // logits; a GPU wants more at once
  const int64_t chunk = std::max<int64_t>(16, at_a_time / payload_.vocab);
  for (int64_t begin = 0; begin < hidden.size(0); begin += chunk) {
    const int64_t n = std::min(chunk, hidden.size(0) - begin);
    if (between && begin > 0) between();
    if (in_place) {
      at::Tensor place = out.values.narrow(0, begin, n);  // (n, V)
      at::mm_out(place, hidden.narrow(0, begin, n), head_.t());
      continue;
    }
    const at::Tensor logits = at::mm(hidden.narrow(0, begin, n), head_.t());  // (n, V)
    std::vector<double> own;
    if (!uniform.empty()) own.assign(uniform.begin() + begin, uniform.begin() + begin + n);
    encode_payload(logits, payload_, temperature, own, begin, out);
  }
}

LocalSoftTargets::LocalSoftTargets(TeacherInference inference) : inference_(std::move(inference)) {
  if (inference_.payload().kind == Payload::kHidden) head_ = inference_.head();  // (V, C)
}

SoftTargets LocalSoftTargets::targets(const MicroBatchId& id, const at::Tensor& tokens) {
  const PayloadSpec& spec = inference_.payload();
  tokens_ = tokens.numel();
  const int64_t bytes = tokens_ * spec.bytes_per_token();
  if (!buffer_.defined() || buffer_.size(0) < bytes) {
    const at::Device device = spec.has_ids() ? at::kCPU : inference_.head().device();
    buffer_ = at::empty({bytes}, at::TensorOptions(at::kByte).device(device));
  }
  const PayloadView view(buffer_, spec, tokens_);
  inference_.soft_targets(id, tokens, view);
  check_soft_targets(view, spec, id, tokens_, "the teacher in the student's process");
  return soft_targets(view, spec, head_);
}

PayloadView LocalSoftTargets::payload() const {
  return PayloadView(buffer_.cpu(), inference_.payload(), tokens_);
}

}  // namespace temper
