// One pass forward and one backward for SwiGLU on the CPU.
#include "model/swiglu.h"

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "model/kernels.h"

namespace temper {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

class SwiGlu : public torch::autograd::Function<SwiGlu> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& gate_up) {
    const int64_t rows = gate_up.size(0);
    const int64_t width = gate_up.size(1) / 2;
    const at::Tensor result = at::empty({rows, width}, gate_up.options());  // (N, F)
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, gate_up.scalar_type(), "swiglu", [&] {
      using A = kernels::accumulate_t<scalar_t>;
      const scalar_t* const in = gate_up.const_data_ptr<scalar_t>();
      scalar_t* const out = result.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, kernels::grain_rows(width), [&](int64_t begin, int64_t end) {
        kernels::with_widest_vectors([&]() __attribute__((always_inline)) {
          for (int64_t row = begin; row < end; ++row) {
            const scalar_t* const gate = in + row * 2 * width;
            const scalar_t* const up = gate + width;
            scalar_t* const to = out + row * width;
_Pragma("omp simd")
            for (int64_t f = 0; f < width; ++f) {
              const A g = kernels::load(gate[f]);
              kernels::store(to[f], g / (A(1) + kernels::exponential(-g)) * kernels::load(up[f]));
            }
          }
        });
      });
    });
    context->save_for_backward({gate_up});
    return result;
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const at::Tensor gate_up = context->get_saved_variables()[0];  // (N, 2F)
    if (!grads[0].defined()) return {at::Tensor()};
    const at::Tensor grad = grads[0].contiguous();  // (N, F)
    const int64_t rows = grad.size(0);
    const int64_t width = grad.size(1);
    const at::Tensor result = at::empty_like(gate_up);  // (N, 2F)
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, grad.scalar_type(), "swiglu_backward", [&] {
      using A = kernels::accumulate_t<scalar_t>;
      const scalar_t* const in = gate_up.const_data_ptr<scalar_t>();
      const scalar_t* const outer = grad.const_data_ptr<scalar_t>();
      scalar_t* const out = result.mutable_data_ptr<scalar_t>();
      at::parallel_for(0, rows, kernels::grain_rows(width), [&](int64_t begin, int64_t end) {
        kernels::with_widest_vectors([&]() __attribute__((always_inline)) {
          for (int64_t row = begin; row < end; ++row) {
            const scalar_t* const gate = in + row * 2 * width;
            const scalar_t* const up = gate + width;
            const scalar_t* const from = outer + row * width;
            scalar_t* const grad_gate = out + row * 2 * width;
            scalar_t* const grad_up = grad_gate + width;
_Pragma("omp simd")
            for (int64_t f = 0; f < width; ++f) {
              const A g = kernels::load(gate[f]);
              const A d = kernels::load(from[f]);
              const A sigmoid = A(1) / (A(1) + kernels::exponential(-g));
              const A slope = sigmoid * (A(1) + g * (A(1) - sigmoid));
              kernels::store(grad_gate[f], d * kernels::load(up[f]) * slope);
              kernels::store(grad_up[f], d * g * sigmoid);
            }
          }
        });
      });
    });
    return {result};
  }
};

}  // namespace

at::Tensor swiglu(const at::Tensor& gate_up) {
  TORCH_INTERNAL_ASSERT(gate_up.dim() == 2 && gate_up.size(1) % 2 == 0);
  if (!gate_up.device().is_cpu()) return swiglu_by_aten(gate_up);
  return SwiGlu::apply(gate_up.contiguous());
}

at::Tensor swiglu_by_aten(const at::Tensor& gate_up) {
  const std::vector<at::Tensor> halves = gate_up.split(gate_up.size(1) / 2, 1);  // 2 x (N, F)
  return at::silu(halves[0]) * halves[1];                                        // (N, F)
}

}  // namespace temper
