// Causal self-attention, softmax(query keyᵀ / √D) value, each position with those up to itself.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

/// query, key, value (B, H, S, D) of one dtype -> (B, H, S, D), differentiable. In bfloat16 on a
/// processor that multiplies it (AVX-512), by temper's own blocks where D is a multiple of 32
/// (kernels/causal_attention_kernel.cpp); elsewhere by LibTorch's scaled_dot_product_attention,
/// which multiplies in float32 there. Both keep scores and softmax in float32.
at::Tensor causal_attention(const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value);

}  // namespace temper
