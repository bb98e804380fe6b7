// How the values of a soft-target message become fewer bits, and how far off they are then.
//
//   fp32    the value
//   bf16    relative error at most 2^-8
//   fp16    relative error at most 2^-11 from 6e-5 to 65504 in size; absolute error at most 3e-8
//           below; what is finite and larger is sent as ±65504
//   int8    absolute error at most (max - min) / 508 of the token's finite values, plus fp32
//   rounding:
//           codes 1 to 255 are evenly spaced from min to max, code 0 stands for -inf (a masked id)
#pragma once

#include <ATen/core/Tensor.h>

#include <string>

namespace temper {

/// fp32, bf16, fp16 or int8, as at::kFloat, at::kBFloat16, at::kHalf and at::kByte. Throws
/// c10::ValueError naming `option` and the known names.
at::ScalarType value_type_from_name(const std::string& name, const std::string& option);
const char* value_type_name(at::ScalarType type);

/// values (n, W), floating, no NaN and no +inf -> `coded` (n, W) of any type above; for int8 also
/// `ranges` (n, 2) float32: min and step of each token.
void encode_values(const at::Tensor& values, const at::Tensor& coded, const at::Tensor& ranges);

/// The way back, (n, W) of `type`; the very tensor where it has that type already.
at::Tensor decode_values(const at::Tensor& coded, const at::Tensor& ranges, at::ScalarType type);

}  // namespace temper
