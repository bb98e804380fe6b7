#include "model/kept_memory.h"

#include <ATen/ATen.h>

namespace temper {

at::Tensor KeptMemory::empty(at::IntArrayRef sizes, at::ScalarType dtype) {
  if (next_ == tensors_.size()) tensors_.emplace_back();
  at::Tensor& tensor = tensors_[next_++];
  if (!tensor.defined() || tensor.sizes() != sizes || tensor.scalar_type() != dtype)
    tensor = at::empty(sizes, dtype);  // (sizes)
  return tensor;
}

}  // namespace temper
