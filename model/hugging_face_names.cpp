// The tensor names of transformers' LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM,
// Qwen3ForCausalLM and GPT2LMHeadModel.
#include "model/hugging_face_names.h"

#include <algorithm>
#include <string_view>

namespace temper {

at::Tensor HuggingFaceTensor::view() const {
  const at::Tensor part = parameter->value.detach().narrow(0, first_row, rows);
  return transposed ? part.t() : part;  // (rows, in), (in, rows) or (rows)
}

std::vector<HuggingFaceTensor> hugging_face_tensors(const Transformer& model) {
  const TransformerConfig& config = model.config();
  const int64_t queries = config.heads * config.head_width;
  const int64_t keys = config.kv_heads * config.head_width;
  struct Cut {
    std::string_view fused;
    std::vector<std::pair<const char*, int64_t>> parts;
  };
  const std::vector<Cut> cuts = {
      {"qkv_proj", {{"q_proj", queries}, {"k_proj", keys}, {"v_proj", keys}}},
      {"gate_up_proj", {{"gate_proj", config.ffn_width}, {"up_proj", config.ffn_width}}}};

  std::vector<HuggingFaceTensor> all;
  for (const Parameter& parameter : model.parameters()) {
    const int64_t rows = parameter.value.size(0);
    bool is_cut = false;
    for (const Cut& cut : cuts) {
      const size_t at = parameter.name.find(cut.fused);
      if (at == std::string::npos) continue;
      is_cut = true;
      int64_t row = 0;
      for (const auto& [part, part_rows] : cut.parts) {
        std::string name = parameter.name;
        name.replace(at, cut.fused.size(), part);
        all.push_back({std::move(name), &parameter, row, part_rows, false});
        row += part_rows;
      }
    }
    if (is_cut) continue;
    const bool conv1d = config.gpt2() && parameter.value.dim() == 2 &&
                        parameter.name.find(".h.") != std::string::npos;
    all.push_back({parameter.name, &parameter, 0, rows, conv1d});
  }
  return all;
}

std::string with_layer(const std::string& name, const std::function<int64_t(int64_t)>& other) {
  for (const std::string_view before : {"layers.", "h."}) {
    const size_t at = name.find(before);
    if (at == std::string::npos || (at > 0 && name[at - 1] != '.')) continue;
    const size_t begin = at + before.size();
    const size_t end = std::min(name.find_first_not_of("0123456789", begin), name.size());
    // More digits than any model has layers name none of them.
    if (end == begin || end - begin > 9) continue;
    const int64_t number = std::stoll(name.substr(begin, end - begin));
    return name.substr(0, begin) + std::to_string(other(number)) + name.substr(end);
  }
  return name;
}

bool is_known_buffer(Family family, const std::string& name) {
  const auto ends_with = [&](std::string_view tail) {
    return name.size() >= tail.size() &&
           name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
  };
  if (family == Family::kGpt2) {
    return ends_with(".attn.bias") || ends_with(".attn.masked_bias");
  }
  return ends_with(".rotary_emb.inv_freq");
}

}  // namespace temper
