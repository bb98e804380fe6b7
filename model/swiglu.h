// SwiGLU (arXiv 2002.05202): the gated activation of Llama's feed-forward layer.
#pragma once

#include <ATen/core/Tensor.h>

namespace temper {

/// silu(gate) · up. gate_up (N, 2F), the gate's columns first -> (N, F).
at::Tensor swiglu(const at::Tensor& gate_up);

}  // namespace temper
