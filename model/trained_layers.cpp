#include "model/trained_layers.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/custom_function.h>

#include "model/weight_gradient.h"

namespace temper {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr const char *kSink = "sink", *kWeight = "weight", *kGradient = "gradient",
                     *kBiasGradient = "bias_gradient";

// Gradients are written in place by many a backward pass, and a part of the cast weights while
// another is in use already: both are kept apart from what autograd guards against that.
void keep(AutogradContext* context, const char* name, const at::Tensor& tensor) {
  if (tensor.defined()) context->saved_data[name] = tensor;
}
at::Tensor kept(AutogradContext* context, const char* name) {
  const auto found = context->saved_data.find(name);
  return found == context->saved_data.end() ? at::Tensor() : found->second.toTensor();
}

GradientSink& sink_of(AutogradContext* context) {
  return *reinterpret_cast<GradientSink*>(context->saved_data[kSink].toInt());
}

int64_t address(GradientSink& sink) { return reinterpret_cast<int64_t>(&sink); }

// What a linear layer takes beside its input; autograd does not look into it.
struct LinearWeights {
  const at::Tensor &weight, &bias;     // in the compute dtype
  at::Tensor gradient, bias_gradient;  // where they are added; undefined without a bias
  GradientSink& sink;
};

// The master is an argument so that the graph reaches here; it gets no gradient from autograd.
struct Linear : torch::autograd::Function<Linear> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& input,
                            const at::Tensor& /*master*/, const LinearWeights& weights) {
    context->save_for_backward({input});
    keep(context, kWeight, weights.weight);
    keep(context, kGradient, weights.gradient);
    keep(context, kBiasGradient, weights.bias_gradient);
    context->saved_data[kSink] = address(weights.sink);
    return at::linear(input, weights.weight, weights.bias);  // (N, out)
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& of_output = gradients[0];                     // (N, out)
    const at::Tensor gradient = kept(context, kGradient);           // (out, in)
    const at::Tensor bias_gradient = kept(context, kBiasGradient);  // (out)
    add_weight_gradient(of_output, saved[0], gradient, sink_of(context).buffer);
    if (bias_gradient.defined())
      bias_gradient.add_(of_output.sum(0, /*keepdim=*/false, bias_gradient.scalar_type()));
    return {at::mm(of_output, kept(context, kWeight)), {}, {}};  // (N, in)
  }
};

struct Embedding : torch::autograd::Function<Embedding> {
  static at::Tensor forward(AutogradContext* context, const at::Tensor& master,
                            const at::Tensor& tokens) {
    context->save_for_backward({tokens});
    keep(context, kGradient, master.grad());
    return at::embedding(master, tokens);  // (B, S, C)
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor rows = gradients[0].flatten(0, 1);    // (N, C)
    const at::Tensor gradient = kept(context, kGradient);  // (V, C)
    gradient.index_add_(0, saved[0].flatten(), rows.to(gradient.scalar_type()));
    return {{}, {}};
  }
};

}  // namespace

at::Tensor trained_linear(const at::Tensor& input, const at::Tensor& weight, const at::Tensor& bias,
                          const at::Tensor& master, const at::Tensor& master_bias,
                          GradientSink& sink) {
  return Linear::apply(
      input, master,
      LinearWeights{weight, bias, master.grad(),
                    master_bias.defined() ? master_bias.grad() : at::Tensor(), sink});
}

at::Tensor trained_embedding(const at::Tensor& master, const at::Tensor& tokens) {
  return Embedding::apply(master, tokens);
}

}  // namespace temper
