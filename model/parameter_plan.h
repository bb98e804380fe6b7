// Which weights a transformer has: names, shapes, initialisation, and where each layer finds its
// own. Products that share their input are one matrix (queries, keys and values; gate and up), so
// that each costs one matrix product; Hugging Face's separate tensors are row ranges of them
// (hugging_face_names.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/transformer_config.h"

namespace temper {

enum class Init { kNormal, kResidual, kOne, kZero };

struct PlannedParameter {
  std::string name;
  std::vector<int64_t> shape;  // matrices are (out, in)
  Init init = Init::kNormal;
  bool decays() const { return shape.size() > 1; }
};

/// Indices into ParameterPlan::parameters; -1: the family has none.
struct LayerPlan {
  int norm1 = -1, norm1_bias = -1;
  int qkv = -1, qkv_bias = -1;
  int query_norm = -1, key_norm = -1;
  int out = -1, out_bias = -1;
  int norm2 = -1, norm2_bias = -1;
  int up = -1, up_bias = -1;  // the Llama family's gate and up in one: (2F, C)
  int down = -1, down_bias = -1;
};

struct ParameterPlan {
  std::vector<PlannedParameter> parameters;
  int embedding = -1;
  int positions = -1;
  std::vector<LayerPlan> layers;
  int final_norm = -1, final_norm_bias = -1;
  int head = -1;  // the embedding's where it is tied

  explicit ParameterPlan(const TransformerConfig& config);

 private:
  int add(std::string name, std::vector<int64_t> shape, Init init);
};

}  // namespace temper
