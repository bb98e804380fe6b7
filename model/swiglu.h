// SwiGLU (arXiv 2002.05202): the gated activation of Llama's feed-forward layer.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

/// silu(gate) · up. gate_up (N, 2F), the gate's columns first; float32, float64 or bfloat16, computed in at least
/// float32 -> (N, F). Differentiable once.
at::Tensor swiglu(const at::Tensor& gate_up);

/// The same by ATen's own operations: for devices other than the CPU, and to test against.
at::Tensor swiglu_by_aten(const at::Tensor& gate_up);

}  // namespace temper
