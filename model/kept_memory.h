// Memory of copies that are made again and again, such as those that checkpoints are written from:
// fresh memory of this size costs more time than copying into it, since the system hands it out in
// zeroed pages, one fault each.
#pragma once

#include <ATen/core/Tensor.h>

#include <vector>

namespace temper {

class KeptMemory {
 public:
  /// The tensors given out so far are nobody's from now on: empty() gives them out again.
  void reuse() { next_ = 0; }

  /// An uninitialised, dense tensor (sizes) on the CPU.
  at::Tensor empty(at::IntArrayRef sizes, at::ScalarType dtype);

 private:
  std::vector<at::Tensor> tensors_;
  size_t next_ = 0;
};

}  // namespace temper
