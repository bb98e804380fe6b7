#include "model/checkpointed_layer.h"

#include <ATen/ATen.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <memory>
#include <optional>

namespace temper {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The function itself travels from the forward to the backward pass.
struct KeptLayer : torch::CustomClassHolder {
  LayerFunction function;
};

at::Tensor leaf(const at::Tensor& saved) {
  return saved.defined() ? saved.detach().requires_grad_() : at::Tensor();
}

struct Checkpointed : torch::autograd::Function<Checkpointed> {
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const std::optional<at::Tensor>& delta, const LayerFunction& layer) {
    const at::Tensor contribution = delta.value_or(at::Tensor());  // (N, C)
    context->save_for_backward({x, contribution});
    auto kept = c10::make_intrusive<KeptLayer>();
    kept->function = layer;
    context->saved_data["layer"] = c10::IValue::make_capsule(std::move(kept));
    const auto [sum, next] = layer(x, contribution);
    return {sum, next};
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor x = leaf(saved[0]), delta = leaf(saved[1]);  // (N, C)
    const auto kept =
        c10::static_intrusive_pointer_cast<KeptLayer>(context->saved_data["layer"].toCapsule());
    variable_list results, of_results;
    {
      const at::AutoGradMode grad(true);
      const auto [sum, next] = kept->function(x, delta);
      for (const auto& [result, gradient] : {std::pair(sum, gradients[0]), {next, gradients[1]}}) {
        if (!gradient.defined()) continue;
        results.push_back(result);
        of_results.push_back(gradient);
      }
    }
    torch::autograd::backward(results, of_results);
    return {x.grad(), delta.defined() ? delta.grad() : at::Tensor(), {}};
  }
};

}  // namespace

LayerState checkpointed(const LayerFunction& layer, const at::Tensor& x, const at::Tensor& delta) {
  const variable_list out = Checkpointed::apply(
      x, delta.defined() ? std::optional<at::Tensor>(delta) : std::nullopt, layer);
  return {out[0], out[1]};
}

}  // namespace temper
