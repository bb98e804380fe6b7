#include "model/swiglu.h"

#include <ATen/ATen.h>

namespace temper {

at::Tensor swiglu(const at::Tensor& gate_up) {
  const std::vector<at::Tensor> halves = gate_up.split(gate_up.size(1) / 2, 1);  // 2 x (N, F)
  return at::silu(halves[0]) * halves[1];                                        // (N, F)
}

}  // namespace temper
