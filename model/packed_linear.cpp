#include "model/packed_linear.h"

#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>

namespace temper {
namespace {

// The operators that torch.compile packs weights with. They are reached by name: LibTorch declares
// them in no header, and may have been built without them.
std::optional<c10::OperatorHandle> find(const char* name) {
  return c10::Dispatcher::singleton().findSchema({name, ""});
}

at::Tensor call(const c10::OperatorHandle& op, torch::jit::Stack stack) {
  op.callBoxed(stack);
  return stack.front().toTensor();
}

at::Tensor multiply(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias) {
  static const std::optional<c10::OperatorHandle> op = find("mkldnn::_linear_pointwise");
  static const c10::IValue none = c10::List<std::optional<at::Scalar>>();
  const c10::IValue added = bias.defined() ? c10::IValue(bias) : c10::IValue();
  return call(op.value(), {input, weight, added, "none", none, ""});
}

}  // namespace

PackedLinear::PackedLinear(const at::Tensor& weight, const at::Tensor& bias)
    : weight_(weight), bias_(bias) {
  const at::ScalarType type = weight.scalar_type();
  const std::optional<c10::OperatorHandle> pack = find("mkldnn::_reorder_linear_weight");
  if (!weight.is_cpu() || (type != at::kFloat && type != at::kBFloat16) || !pack ||
      !find("mkldnn::_linear_pointwise")) {
    return;
  }
  const c10::InferenceMode inference;
  try {
    const at::Tensor ready = call(*pack, {weight.detach(), c10::IValue()});  // oneDNN's layout
    multiply(at::zeros({1, weight.size(1)}, type), ready, bias);             // does it serve?
    weight_ = ready;
    packed_ = true;
  } catch (const c10::Error&) {
    // oneDNN has no such product for this processor (bfloat16 wants AVX-512).
  }
}

at::Tensor PackedLinear::operator()(const at::Tensor& input) const {
  return packed_ ? multiply(input, weight_, bias_) : at::linear(input, weight_, bias_);  // (N, out)
}

}  // namespace temper
