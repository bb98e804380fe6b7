#include "teacher/payload_json.h"

#include <c10/util/Exception.h>

#include <nlohmann/json.hpp>

#include "comm/value_coding.h"
#include "data/json_input.h"

namespace temper {

nlohmann::ordered_json payload_spec_json(const PayloadSpec& spec) {
  nlohmann::ordered_json json;
  json["kind"] = payload_name(spec.kind);
  json["vocab"] = spec.vocab;
  json["width"] = spec.width;
  json["entries"] = spec.entries;
  json["values"] = value_type_name(spec.dtype);
  return json;
}

PayloadSpec payload_spec_from_json(const nlohmann::json& json, const std::string& file) {
  const JsonFields fields(json, file);
  PayloadSpec spec;
  const std::string kind = fields.text("kind");
  bool known = false;
  for (const Payload payload :
       {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    if (kind != payload_name(payload)) continue;
    spec.kind = payload;
    known = true;
  }
  if (!known) fields.refuse("kind", "full, hidden, topk or sample is wanted");
  spec.vocab = fields.integer("vocab");
  spec.width = fields.integer("width");
  spec.entries = fields.integer("entries");
  known = false;
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
    if (fields.text("values") != value_type_name(type)) continue;
    spec.dtype = type;
    known = true;
  }
  if (!known) fields.refuse("values", "fp32, bf16, fp16 or int8 is wanted");
  return spec;
}

void validate_payload_spec(const PayloadSpec& spec, const std::string& file) {
  const auto within = [&](const char* name, int64_t value, int64_t most) {
    TORCH_CHECK_VALUE(value >= 0 && value <= most, file, ": payload ", name, " is ", value,
                      ", not 0 to ", most);
  };
  within("vocab", spec.vocab, int64_t{1} << 31);
  within("width", spec.width, int64_t{1} << 24);
  within("entries", spec.entries, int64_t{1} << 24);
  try {
    spec.validate();
  } catch (const c10::Error& error) {
    TORCH_CHECK_VALUE(false, file, ": payload: ", error.what_without_backtrace());
  }
}

}  // namespace temper
