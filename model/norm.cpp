// One pass forward and one backward for residual add + norm on the CPU.
#include "model/norm.h"

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

// One row. Returns 1 / (rms or standard deviation); `mean` is set for a LayerNorm.
template <bool kCentred, class T, class A>
[[gnu::always_inline]] inline A forward_row(const T* x, const T* delta, const A* weight,
                                            const A* bias, T* sum, T* normed, int64_t width, A eps,
                                            A* mean) {
  if (delta != nullptr) {
#pragma omp simd
    for (int64_t c = 0; c < width; ++c) {
      kernels::store(sum[c], kernels::load(x[c]) + kernels::load(delta[c]));
    }
    x = sum;
  }
  A centre = 0;
  if constexpr (kCentred) {
    A total = 0;
#pragma omp simd reduction(+ : total)
    for (int64_t c = 0; c < width; ++c) total += kernels::load(x[c]);
    centre = total / static_cast<A>(width);
    *mean = centre;
  }
  A squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < width; ++c) {
    const A value = kernels::load(x[c]) - centre;
    squares += value * value;
  }
  const A scale = A(1) / std::sqrt(squares / static_cast<A>(width) + eps);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    A value = (kernels::load(x[c]) - centre) * scale * weight[c];
    if constexpr (kCentred) value += bias[c];
    kernels::store(normed[c], value);
  }
  return scale;
}

// With x̂ = (x - mean)·scale and g = weight·grad: dx = scale·(g - mean(g) - x̂·mean(g·x̂)) + grad_sum, without mean(g) for
// an RMSNorm; dweight += grad·x̂; dbias += grad.
template <bool kCentred, class T, class A>
[[gnu::always_inline]] inline void backward_row(const T* x, const T* grad, const T* grad_sum,
                                                const A* weight, T* grad_x, A* grad_weight,
                                                A* grad_bias, int64_t width, A scale, A mean) {
  A along = 0;
  A level = 0;
#pragma omp simd reduction(+ : along, level)
  for (int64_t c = 0; c < width; ++c) {
    const A unit = (kernels::load(x[c]) - mean) * scale;
    const A outer = kernels::load(grad[c]);
    const A g = outer * weight[c];
    along += g * unit;
    if constexpr (kCentred) level += g;
    grad_weight[c] += outer * unit;
    if constexpr (kCentred) grad_bias[c] += outer;
  }
  along /= static_cast<A>(width);
  level /= static_cast<A>(width);
#pragma omp simd
  for (int64_t c = 0; c < width; ++c) {
    const A unit = (kernels::load(x[c]) - mean) * scale;
    A value = (kernels::load(grad[c]) * weight[c] - level - unit * along) * scale;
    if (grad_sum != nullptr) value += kernels::load(grad_sum[c]);
    kernels::store(grad_x[c], value);
  }
}

template <class T>
const T* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<T>() : nullptr;
}

class AddNorm : public torch::autograd::Function<AddNorm> {
 public:
  // -> {normed} without a delta, {normed, sum} with one
  static variable_list forward(AutogradContext* context, const at::Tensor& x,
                               const at::Tensor& delta, const at::Tensor& weight,
                               const at::Tensor& bias, double eps) {
    const int64_t rows = x.size(0);
    const int64_t width = x.size(1);
    const at::Tensor sum = delta.defined() ? at::empty_like(x) : at::Tensor();  // (N, C)
    const at::Tensor normed = at::empty_like(x);                                // (N, C)
    const at::Tensor scales = at::empty({rows}, weight.options());              // (N)
    const at::Tensor means =
        bias.defined() ? at::empty({rows}, weight.options()) : at::Tensor();  // (N)
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "add_norm", [&] {
      using A = kernels::accumulate_t<scalar_t>;
      const scalar_t* const x_data = x.const_data_ptr<scalar_t>();
      const scalar_t* const delta_data = data_or_null<scalar_t>(delta);
      const A* const weight_data = weight.const_data_ptr<A>();
      const A* const bias_data = data_or_null<A>(bias);
      scalar_t* const sum_data = sum.defined() ? sum.mutable_data_ptr<scalar_t>() : nullptr;
      scalar_t* const normed_data = normed.mutable_data_ptr<scalar_t>();
      A* const scale_data = scales.mutable_data_ptr<A>();
      A* const mean_data = means.defined() ? means.mutable_data_ptr<A>() : nullptr;
      at::parallel_for(0, rows, kernels::grain_rows(width), [&](int64_t begin, int64_t end) {
        kernels::with_widest_vectors([&]() __attribute__((always_inline)) {
          for (int64_t row = begin; row < end; ++row) {
            const int64_t at = row * width;
            const scalar_t* const added = delta_data ? delta_data + at : nullptr;
            scalar_t* const total = sum_data ? sum_data + at : nullptr;
            scale_data[row] =
                bias_data ? forward_row<true, scalar_t, A>(x_data + at, added, weight_data, bias_data,
                                                        total, normed_data + at, width, A(eps),
                                                        mean_data + row)
                          : forward_row<false, scalar_t, A>(x_data + at, added, weight_data, nullptr,
                                                         total, normed_data + at, width, A(eps),
                                                         nullptr);
          }
        });
      });
    });
    context->save_for_backward({delta.defined() ? sum : x, weight, scales, means});
    context->saved_data["has_delta"] = delta.defined();
    if (delta.defined()) return {normed, sum};
    return {normed};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& x = saved[0];
    const at::Tensor& weight = saved[1];
    const at::Tensor& scales = saved[2];
    const at::Tensor& means = saved[3];
    const bool has_delta = context->saved_data["has_delta"].toBool();
    const bool centred = means.defined();
    const int64_t rows = x.size(0);
    const int64_t width = x.size(1);
    const at::Tensor grad =
        grads[0].defined() ? grads[0].contiguous() : at::zeros_like(x);  // (N, C)
    const at::Tensor grad_sum = has_delta && grads[1].defined() ? grads[1].contiguous()
                                                                : at::Tensor();  // (N, C)
    const at::Tensor grad_x = at::empty_like(x);                                 // (N, C)
    const int64_t blocks = kernels::reduction_blocks(rows);
    const at::Tensor partial =
        at::zeros({blocks, centred ? 2 : 1, width}, weight.options());  // (blocks, 1 or 2, C)
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "add_norm_backward", [&] {
      using A = kernels::accumulate_t<scalar_t>;
      const scalar_t* const x_data = x.const_data_ptr<scalar_t>();
      const scalar_t* const grad_data = grad.const_data_ptr<scalar_t>();
      const scalar_t* const grad_sum_data = data_or_null<scalar_t>(grad_sum);
      const A* const weight_data = weight.const_data_ptr<A>();
      const A* const scale_data = scales.const_data_ptr<A>();
      const A* const mean_data = data_or_null<A>(means);
      scalar_t* const grad_x_data = grad_x.mutable_data_ptr<scalar_t>();
      A* const partial_data = partial.mutable_data_ptr<A>();
      at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
        kernels::with_widest_vectors([&]() __attribute__((always_inline)) {
          for (int64_t block = first; block < last; ++block) {
            A* const grad_weight = partial_data + block * (centred ? 2 : 1) * width;
            for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row) {
              const int64_t at = row * width;
              const scalar_t* const through = grad_sum_data ? grad_sum_data + at : nullptr;
              if (centred) {
                backward_row<true, scalar_t, A>(x_data + at, grad_data + at, through, weight_data,
                                             grad_x_data + at, grad_weight, grad_weight + width,
                                             width, scale_data[row], mean_data[row]);
              } else {
                backward_row<false, scalar_t, A>(x_data + at, grad_data + at, through, weight_data,
                                              grad_x_data + at, grad_weight, nullptr, width,
                                              scale_data[row], A(0));
              }
            }
          }
        });
      });
    });
    const at::Tensor grad_vectors = partial.sum(0);  // (1 or 2, C)
    return {grad_x, has_delta ? grad_x : at::Tensor(), grad_vectors[0],
            centred ? grad_vectors[1] : at::Tensor(), at::Tensor()};
  }
};

}  // namespace

AddedNorm add_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                   const at::Tensor& bias, double eps) {
  TORCH_INTERNAL_ASSERT(x.dim() == 2 && weight.numel() == x.size(1));
  TORCH_INTERNAL_ASSERT(weight.scalar_type() == at::toOpMathType(x.scalar_type()));
  if (!x.device().is_cpu()) return add_norm_by_aten(x, delta, weight, bias, eps);
  const variable_list results =
      AddNorm::apply(x.contiguous(), delta.defined() ? delta.contiguous() : delta,
                     weight.contiguous(), bias.defined() ? bias.contiguous() : bias, eps);
  return {delta.defined() ? results[1] : x, results[0]};
}

AddedNorm add_norm_by_aten(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                           const at::Tensor& bias, double eps) {
  const at::Tensor sum = delta.defined() ? x + delta : x;  // (N, C)
  const at::Tensor wide = sum.to(weight.scalar_type());    // (N, C)
  if (bias.defined()) {
    const at::Tensor normed = at::layer_norm(wide, {x.size(1)}, weight, bias, eps);  // (N, C)
    return {sum, normed.to(x.scalar_type())};
  }
  const at::Tensor scale = (wide.square().mean(-1, /*keepdim=*/true) + eps).rsqrt();  // (N, 1)
  return {sum, (wide * scale * weight).to(x.scalar_type())};
}

}  // namespace temper
