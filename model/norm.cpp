#include "model/norm.h"

#include <ATen/ATen.h>

namespace temper {

AddedNorm add_norm(const at::Tensor& x, const at::Tensor& delta, const at::Tensor& weight,
                   const at::Tensor& bias, double eps) {
  TORCH_INTERNAL_ASSERT(x.dim() == 2 && weight.numel() == x.size(1));
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
