// A payload's layout as JSON, by names, and back.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "comm/payload.h"

namespace temper {

nlohmann::ordered_json payload_spec_json(const PayloadSpec& spec);

/// Throws c10::ValueError naming the file, the field, the value and what is wanted. Sizes may still
/// be out of bounds: validate_payload_spec().
PayloadSpec payload_spec_from_json(const nlohmann::json& json, const std::string& file);

/// Throws c10::ValueError naming the file and the value where no message can be laid out so, or
/// where its sizes overflow.
void validate_payload_spec(const PayloadSpec& spec, const std::string& file);

}  // namespace temper
