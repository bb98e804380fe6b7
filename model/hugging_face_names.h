// How our parameters are cut into the tensors of a Hugging Face folder: queries, keys and values
// apart, gate and up apart, and GPT-2's matrices turned, since its Conv1D keeps them as (in, out).
#pragma once

#include <functional>
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

/// `name` with another layer's number in place of its own ("model.layers.3.mlp..." or
/// "h.3.mlp..."); as it is where it belongs to no layer.
std::string with_layer(const std::string& name, const std::function<int64_t(int64_t)>& other);

/// Names that checkpoints of this family may hold besides: buffers that are no weights.
bool is_known_buffer(Family family, const std::string& name);

}  // namespace temper
