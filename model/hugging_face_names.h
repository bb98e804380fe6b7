// How our parameters are cut into the tensors of a Hugging Face folder: queries, keys and values
// apart, gate and up apart, and GPT-2's matrices turned, since its Conv1D keeps them as (in, out).
#pragma once

#include <string>
#include <vector>

#include "model/transformer.h"

namespace temper {

/// Rows [first_row, first_row + rows) of a parameter under a name of their own.
struct HuggingFaceTensor {
  std::string name;
  const Parameter* parameter = nullptr;
  int64_t first_row = 0;
  int64_t rows = 0;
  bool transposed = false;  // in the file: (in, out)

  /// The part of the parameter, in the file's orientation; a view.
  at::Tensor view() const;
};

/// All tensors of the model's folder, in the order of its parameters. Points into `model`.
std::vector<HuggingFaceTensor> hugging_face_tensors(const Transformer& model);

/// Names that checkpoints of this family may hold besides: buffers that are no weights.
bool is_known_buffer(Family family, const std::string& name);

}  // namespace temper
