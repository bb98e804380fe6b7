// RoPE's table, and one pass forward and one backward from QKV to attention's input on the CPU.
#include "model/rotary.h"

#include <ATen/Dispatch.h>
#include <ATen/Functions.h>
#include <ATen/OpMathType.h>
#include <ATen/TensorOperators.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <vector>

#include "model/kernels.h"
#include "model/norm.h"

namespace temper {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Norms (where `weight` is given) and turns one head of one position, and writes it `copies` times, one behind the
// other, as repeated heads lie. `scratch` holds D numbers.
template <class T, class A>
[[gnu::always_inline]] inline void turn(const T* in, const A* cos, const A* sin, const A* weight,
                                        A eps, int64_t width, int64_t copies, T* out, A* scratch) {
  const int64_t half = width / 2;
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) scratch[d] = kernels::load(in[d]);
  if (weight != nullptr) {
    A squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t d = 0; d < width; ++d) squares += scratch[d] * scratch[d];
    const A scale = A(1) / std::sqrt(squares / static_cast<A>(width) + eps);
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) scratch[d] *= scale * weight[d];
  }
  for (int64_t copy = 0; copy < copies; ++copy, out += width) {
#pragma omp simd
    for (int64_t i = 0; i < half; ++i) {
      const A first = scratch[i];
      const A second = scratch[i + half];
      kernels::store(out[i], first * cos[i] - second * sin[i]);
      kernels::store(out[i + half], second * cos[i] + first * sin[i]);
    }
  }
}

// The transpose of turn(): sums the copies' gradients, turns back, and goes back through the norm. grad_weight is added to.
template <class T, class A>
[[gnu::always_inline]] inline void turn_back(const T* grad, const T* in, const A* cos, const A* sin,
                                             const A* weight, A eps, int64_t width, int64_t copies,
                                             T* grad_in, A* grad_weight, A* scratch) {
  const int64_t half = width / 2;
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) scratch[d] = kernels::load(grad[d]);
  for (int64_t copy = 1; copy < copies; ++copy) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) scratch[d] += kernels::load(grad[copy * width + d]);
  }
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const A first = scratch[i];
    const A second = scratch[i + half];
    scratch[i] = first * cos[i] + second * sin[i];
    scratch[i + half] = second * cos[i] - first * sin[i];
  }
  if (weight == nullptr) {
#pragma omp simd
    for (int64_t d = 0; d < width; ++d) kernels::store(grad_in[d], scratch[d]);
    return;
  }
  A squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t d = 0; d < width; ++d) squares += kernels::load(in[d]) * kernels::load(in[d]);
  const A scale = A(1) / std::sqrt(squares / static_cast<A>(width) + eps);
  A along = 0;
#pragma omp simd reduction(+ : along)
  for (int64_t d = 0; d < width; ++d) {
    const A unit = kernels::load(in[d]) * scale;
    grad_weight[d] += scratch[d] * unit;
    along += scratch[d] * weight[d] * unit;
  }
  along /= static_cast<A>(width);
#pragma omp simd
  for (int64_t d = 0; d < width; ++d) {
    const A unit = kernels::load(in[d]) * scale;
    kernels::store(grad_in[d], (scratch[d] * weight[d] - unit * along) * scale);
  }
}

template <class A>
const A* data_or_null(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<A>() : nullptr;
}

class SplitHeads : public torch::autograd::Function<SplitHeads> {
 public:
  static variable_list forward(AutogradContext* context, const at::Tensor& qkv,
                               const at::Tensor& query_norm, const at::Tensor& key_norm,
                               const at::Tensor& cos, const at::Tensor& sin, HeadShape shape) {
    const int64_t rows = qkv.size(0);
    const int64_t heads = shape.heads, kv_heads = shape.kv_heads, width = shape.head_width;
    const int64_t seq = shape.positions, group = heads / kv_heads, in_width = qkv.size(1);
    const std::vector<int64_t> sizes = {shape.sequences, seq, heads, width};
    const at::Tensor query = at::empty(sizes, qkv.options());  // (B, S, H, D)
    const at::Tensor key = at::empty(sizes, qkv.options());    // (B, S, H, D)
    const at::Tensor value = at::empty(sizes, qkv.options());  // (B, S, H, D)
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, qkv.scalar_type(), "split_heads", [&] {
      using A = kernels::accumulate_t<scalar_t>;
      const scalar_t* const in = qkv.const_data_ptr<scalar_t>();
      scalar_t* const query_data = query.mutable_data_ptr<scalar_t>();
      scalar_t* const key_data = key.mutable_data_ptr<scalar_t>();
      scalar_t* const value_data = value.mutable_data_ptr<scalar_t>();
      const A* const cos_data = cos.const_data_ptr<A>();
      const A* const sin_data = sin.const_data_ptr<A>();
      const A* const query_weight = data_or_null<A>(query_norm);
      const A* const key_weight = data_or_null<A>(key_norm);
      const A eps = static_cast<A>(shape.norm_eps);
      at::parallel_for(0, rows, kernels::grain_rows(in_width), [&](int64_t begin, int64_t end) {
        std::vector<A> scratch(static_cast<size_t>(width));
        A* const buffer = scratch.data();
        kernels::with_widest_vectors([&]() __attribute__((always_inline)) {
          for (int64_t row = begin; row < end; ++row) {
            const A* const c = cos_data + row % seq * (width / 2);
            const A* const s = sin_data + row % seq * (width / 2);
            const scalar_t* from = in + row * in_width;
            const int64_t to = row * heads * width;
            for (int64_t h = 0; h < heads; ++h, from += width) {
              turn<scalar_t, A>(from, c, s, query_weight, eps, width, 1, query_data + to + h * width,
                             buffer);
            }
            for (int64_t h = 0; h < kv_heads; ++h, from += width) {
              turn<scalar_t, A>(from, c, s, key_weight, eps, width, group,
                             key_data + to + h * group * width, buffer);
            }
            for (int64_t h = 0; h < heads; ++h) {
              std::copy_n(from + h / group * width, width, value_data + to + h * width);
            }
          }
        });
      });
    });
    context->save_for_backward(
        {query_norm.defined() ? qkv : at::Tensor(), query_norm, key_norm, cos, sin});
    context->saved_data["shape"] =
        std::vector<int64_t>{shape.sequences, seq, heads, kv_heads, width};
    context->saved_data["eps"] = shape.norm_eps;
    return {query, key, value};
  }

  static variable_list backward(AutogradContext* context, variable_list grads) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor& qkv = saved[0];
    const at::Tensor& query_norm = saved[1];
    const at::Tensor& key_norm = saved[2];
    const at::Tensor& cos = saved[3];
    const at::Tensor& sin = saved[4];
    const std::vector<int64_t> shape = context->saved_data["shape"].toIntVector();
    const double norm_eps = context->saved_data["eps"].toDouble();
    const int64_t seq = shape[1], heads = shape[2], kv_heads = shape[3], width = shape[4];
    const int64_t rows = shape[0] * seq, group = heads / kv_heads;
    const int64_t in_width = (heads + 2 * kv_heads) * width;
    at::TensorOptions options;
    for (const at::Tensor& grad : grads) {
      if (grad.defined()) options = grad.options();
    }
    for (at::Tensor& grad : grads) {
      grad = grad.defined() ? grad.contiguous()
                            : at::zeros({shape[0], seq, heads, width}, options);  // (B, S, H, D)
    }
    const at::Tensor grad_in = at::empty({rows, in_width}, options);  // (N, (H + 2·kv_heads)·D)
    const int64_t blocks = kernels::reduction_blocks(rows);
    const bool normed = query_norm.defined();
    const at::Tensor partial = at::zeros({blocks, 2, width}, cos.options());  // (blocks, 2, D)
    AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, grad_in.scalar_type(), "split_heads_back", [&] {
      using A = kernels::accumulate_t<scalar_t>;
      const scalar_t* const in = data_or_null<scalar_t>(qkv);
      const scalar_t* const query_grad = grads[0].const_data_ptr<scalar_t>();
      const scalar_t* const key_grad = grads[1].const_data_ptr<scalar_t>();
      const scalar_t* const value_grad = grads[2].const_data_ptr<scalar_t>();
      scalar_t* const out = grad_in.mutable_data_ptr<scalar_t>();
      const A* const cos_data = cos.const_data_ptr<A>();
      const A* const sin_data = sin.const_data_ptr<A>();
      const A* const query_weight = data_or_null<A>(query_norm);
      const A* const key_weight = data_or_null<A>(key_norm);
      A* const partial_data = partial.mutable_data_ptr<A>();
      const A eps = static_cast<A>(norm_eps);
      at::parallel_for(0, blocks, 1, [&](int64_t first, int64_t last) {
        std::vector<A> scratch(static_cast<size_t>(width));
        A* const buffer = scratch.data();
        kernels::with_widest_vectors([&]() __attribute__((always_inline)) {
          for (int64_t block = first; block < last; ++block) {
            A* const query_sum = partial_data + block * 2 * width;
            A* const key_sum = query_sum + width;
            for (int64_t row = block * rows / blocks; row < (block + 1) * rows / blocks; ++row) {
              const A* const c = cos_data + row % seq * (width / 2);
              const A* const s = sin_data + row % seq * (width / 2);
              const int64_t from = row * heads * width;
              int64_t to = row * in_width;
              for (int64_t h = 0; h < heads; ++h, to += width) {
                turn_back<scalar_t, A>(query_grad + from + h * width, normed ? in + to : nullptr, c, s,
                                    query_weight, eps, width, 1, out + to, query_sum, buffer);
              }
              for (int64_t h = 0; h < kv_heads; ++h, to += width) {
                turn_back<scalar_t, A>(key_grad + from + h * group * width,
                                    normed ? in + to : nullptr, c, s, key_weight, eps, width, group,
                                    out + to, key_sum, buffer);
              }
              for (int64_t h = 0; h < kv_heads; ++h, to += width) {
                const scalar_t* const copies = value_grad + from + h * group * width;
_Pragma("omp simd")
                for (int64_t d = 0; d < width; ++d) {
                  A sum = kernels::load(copies[d]);
                  for (int64_t g = 1; g < group; ++g) sum += kernels::load(copies[g * width + d]);
                  kernels::store(out[to + d], sum);
                }
              }
            }
          }
        });
      });
    });
    at::Tensor grad_query_norm, grad_key_norm;
    if (normed) {
      const at::Tensor sums = partial.sum(0);  // (2, D)
      grad_query_norm = sums[0];               // (D)
      grad_key_norm = sums[1];                 // (D)
    }
    return {grad_in, grad_query_norm, grad_key_norm, at::Tensor(), at::Tensor(), at::Tensor()};
  }
};

}  // namespace

RotaryTable::RotaryTable(int64_t positions, int64_t head_width, double theta)
    : positions_(positions), head_width_(head_width), theta_(theta) {}

RotaryTable::Angles RotaryTable::angles(int64_t seq, at::ScalarType dtype, at::Device device) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const bool fits = kept_.cos.defined() && kept_.cos.size(0) >= seq &&
                    kept_.cos.scalar_type() == dtype && kept_.cos.device() == device;
  if (!fits) {
    // The table outlives this call, which may run in inference mode; tensors made in it could not be saved for backward.
    const c10::InferenceMode normal_tensors(false);
    const at::NoGradGuard no_grad;
    const int64_t length = std::min(positions_, std::max<int64_t>(2 * seq, 256));
    const auto options = at::TensorOptions().dtype(dtype);
    const at::Tensor exponents =
        at::arange(0, head_width_, 2, options) / static_cast<double>(head_width_);  // (D/2)
    const at::Tensor frequencies = at::pow(theta_, exponents).reciprocal();         // (D/2)
    const at::Tensor positions = at::arange(0, length, options);                    // (S')
    const at::Tensor phases = positions.unsqueeze(1) * frequencies;                 // (S', D/2)
    kept_ = {phases.cos().to(device), phases.sin().to(device)};
  }
  return {kept_.cos.narrow(0, 0, seq), kept_.sin.narrow(0, 0, seq)};  // (S, D/2) each
}

AttentionInput split_heads(const at::Tensor& qkv, const HeadShape& shape,
                           const RotaryTable::Angles& angles, const at::Tensor& query_norm,
                           const at::Tensor& key_norm) {
  TORCH_INTERNAL_ASSERT(qkv.size(0) == shape.sequences * shape.positions);
  TORCH_INTERNAL_ASSERT(qkv.size(1) == (shape.heads + 2 * shape.kv_heads) * shape.head_width);
  TORCH_INTERNAL_ASSERT(angles.cos.scalar_type() == at::toOpMathType(qkv.scalar_type()));
  if (!qkv.device().is_cpu()) {
    return split_heads_by_aten(qkv, shape, angles, query_norm, key_norm);
  }
  const variable_list parts = SplitHeads::apply(qkv.contiguous(), query_norm, key_norm, angles.cos,
                                                angles.sin, shape);  // 3 x (B, S, H, D)
  return {parts[0].transpose(1, 2), parts[1].transpose(1, 2),
          parts[2].transpose(1, 2)};  // (B, H, S, D)
}

AttentionInput split_heads_by_aten(const at::Tensor& qkv, const HeadShape& shape,
                                   const RotaryTable::Angles& angles, const at::Tensor& query_norm,
                                   const at::Tensor& key_norm) {
  const int64_t half = shape.head_width / 2;
  const int64_t group = shape.heads / shape.kv_heads;
  const at::Tensor heads =
      qkv.view({shape.sequences, shape.positions, -1, shape.head_width});  // (B, S, H + 2·kv, D)
  const std::vector<at::Tensor> parts =
      heads.split_with_sizes({shape.heads, shape.kv_heads, shape.kv_heads}, 2);
  const at::Tensor cos = angles.cos.unsqueeze(1);  // (S, 1, D/2)
  const at::Tensor sin = angles.sin.unsqueeze(1);  // (S, 1, D/2)
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
    return group == 1 ? part : part.repeat_interleave(group, 2);  // (B, S, H, D)
  };
  return {normed_and_turned(parts[0], query_norm).transpose(1, 2),
          repeated(normed_and_turned(parts[1], key_norm)).transpose(1, 2),
          repeated(parts[2]).transpose(1, 2)};  // (B, H, S, D)
}

}  // namespace temper
