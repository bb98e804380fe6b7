// Weights, gradients and initialisation of the transformer; the forward pass is in
// transformer_forward.cpp.
#include "model/transformer.h"

#include <ATen/CPUGeneratorImpl.h>

#include <cmath>
#include <utility>

namespace temper {
namespace {

// 32 elements are 64 bytes of bfloat16, a cache line and the widest vector; the same offsets serve
// the wider types.
constexpr int64_t kAlignment = 32;

// SplitMix64's finisher: seeds that differ in one bit give generators that have nothing in common.
uint64_t mixed(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

}  // namespace

Transformer::Transformer(const TransformerConfig& config, at::ScalarType dtype, at::Device device)
    : config_((config.validate("model"), config)), plan_(config) {
  const bool known =
      dtype == at::kFloat || dtype == at::kDouble || dtype == at::kBFloat16 || dtype == at::kHalf;
  TORCH_CHECK_VALUE(known, "weights of type ", c10::toString(dtype),
                    " are not kept; choose float32, float64, bfloat16 or float16");
  if (!config.gpt2()) {
    rotary_ = std::make_shared<RotaryTable>(config.positions, config.head_width, config.rope_theta,
                                            config.rope_scaling);
  }
  int64_t total = 0;
  for (const PlannedParameter& planned : plan_.parameters) {
    const int64_t count = c10::multiply_integers(planned.shape);
    parameters_.push_back({planned.name, {}, total, planned.decays()});
    total += (count + kAlignment - 1) / kAlignment * kAlignment;
  }
  flat_weights_ = at::zeros({total}, at::TensorOptions().dtype(dtype).device(device));  // (P)
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::vector<int64_t>& shape = plan_.parameters[i].shape;
    Parameter& parameter = parameters_[i];
    parameter.value = flat_weights_.narrow(0, parameter.offset, c10::multiply_integers(shape))
                          .view(shape)
                          .detach();  // (shape of the plan)
  }
}

void Transformer::init_weights(uint64_t seed) {
  const at::NoGradGuard no_grad;
  const double residual_std = 0.02 / std::sqrt(2.0 * static_cast<double>(config_.layers));
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const at::Tensor& value = parameters_[i].value;
    const Init init = plan_.parameters[i].init;
    if (init == Init::kOne || init == Init::kZero) {
      value.fill_(init == Init::kOne ? 1.0 : 0.0);
      continue;
    }
    // Always drawn on the CPU in float32, from a generator of the parameter's own: neither device,
    // dtype nor the other parameters' sizes change it.
    at::Generator generator = at::detail::createCPUGenerator(mixed(mixed(seed) + i + 1));
    const at::Tensor drawn = at::empty(value.sizes(), at::kFloat);  // (shape of the parameter)
    drawn.normal_(0.0, init == Init::kResidual ? residual_std : 0.02, generator);
    value.copy_(drawn);
  }
}

void Transformer::require_gradients() {
  const c10::InferenceMode normal_tensors(false);
  require_gradients(flat_gradients_.defined() ? flat_gradients_
                                              : at::zeros_like(flat_weights_));  // (P)
}

void Transformer::require_gradients(at::Tensor flat) {
  TORCH_CHECK(
      flat_weights_.scalar_type() == at::kFloat || flat_weights_.scalar_type() == at::kDouble,
      "a model that is trained keeps its weights in float32 or float64");
  TORCH_CHECK(flat.sizes() == flat_weights_.sizes() && flat.is_contiguous() &&
                  flat.scalar_type() == flat_weights_.scalar_type() &&
                  flat.device() == flat_weights_.device(),
              "the buffer for gradients is not like that of the weights");
  const c10::InferenceMode normal_tensors(false);
  flat_gradients_ = std::move(flat);  // (P)
  for (Parameter& parameter : parameters_) {
    parameter.value.requires_grad_();
    // backward() adds in place to a gradient that is there already.
    parameter.value.mutable_grad() =
        flat_gradients_.narrow(0, parameter.offset, parameter.value.numel())
            .view(parameter.value.sizes())
            .detach();  // (shape of the parameter)
  }
}

void Transformer::move_weights(at::Tensor flat) {
  TORCH_CHECK(flat.sizes() == flat_weights_.sizes() && flat.is_contiguous() &&
                  flat.scalar_type() == flat_weights_.scalar_type() &&
                  flat.device() == flat_weights_.device(),
              "the buffer for weights is not like the one that they are in");
  const at::NoGradGuard no_grad;
  flat.copy_(flat_weights_);
  flat_weights_ = std::move(flat);  // (P)
  for (Parameter& parameter : parameters_) {
    parameter.value.set_data(flat_weights_.narrow(0, parameter.offset, parameter.value.numel())
                                 .view(parameter.value.sizes()));  // (shape of the plan)
  }
}

const at::Tensor& Transformer::head() const { return weight(plan_.head); }

at::Tensor Transformer::head(at::ScalarType compute) const {
  return weight_as(plan_.head, compute).detach();  // (V, C)
}

Transformer::Cast::Cast(Transformer& model, at::ScalarType compute) : model_(model) {
  if (model.flat_weights_.scalar_type() == compute) return;
  if (!model.flat_cast_.defined() || model.flat_cast_.scalar_type() != compute)
    model.flat_cast_ = at::empty_like(model.flat_weights_, compute);  // (P)
  model.cast_ = true;
}

void Transformer::Cast::through(int64_t end) {
  if (!model_.cast_ || end <= done_) return;
  const at::NoGradGuard no_grad;
  const int64_t count = end - done_;
  model_.flat_cast_.narrow(0, done_, count).copy_(model_.flat_weights_.narrow(0, done_, count));
  done_ = end;
}

Transformer::Cast::~Cast() { model_.cast_ = false; }

Transformer Transformer::as(at::ScalarType dtype) const {
  const at::NoGradGuard no_grad;
  Transformer other(config_, dtype, flat_weights_.device());
  other.flat_weights_.copy_(flat_weights_);
  return other;
}

at::Tensor Transformer::head_gradient() const {
  TORCH_CHECK(flat_gradients_.defined(), "head_gradient() needs require_gradients() before it");
  const Parameter& parameter = parameters_[static_cast<size_t>(plan_.head)];
  return flat_gradients_.narrow(0, parameter.offset, parameter.value.numel())
      .view(parameter.value.sizes());  // (V, C)
}

}  // namespace temper
