#include "comm/value_coding.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <limits>

namespace temper {

namespace {

constexpr double kLargestHalf = 65504;
constexpr double kSteps = 254;  // between the codes 1 and 255
constexpr double kNone = -std::numeric_limits<double>::infinity();

}  // namespace

at::ScalarType value_type_from_name(const std::string& name, const std::string& option) {
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
    if (name == value_type_name(type)) return type;
  }
  TORCH_CHECK_VALUE(false, "--", option, " is '", name, "': give fp32, bf16, fp16 or int8");
}

const char* value_type_name(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "fp32";
    case at::kBFloat16:
      return "bf16";
    case at::kHalf:
      return "fp16";
    case at::kByte:
      return "int8";
    default:
      return "unknown";
  }
}

void encode_values(const at::Tensor& values, const at::Tensor& coded, const at::Tensor& ranges) {
  if (coded.scalar_type() == at::kHalf) {
    // Infinities stay: the receiver refuses them, or knows them as masked. bf16 has no such bound.
    const at::Tensor wide = values.scalar_type() == at::kBFloat16 ? values.to(at::kFloat) : values;
    coded.copy_(at::where(wide.isinf(), wide, wide.clamp(-kLargestHalf, kLargestHalf)));  // (n, W)
    return;
  }
  if (coded.scalar_type() != at::kByte) {
    coded.copy_(values);
    return;
  }
  const at::Tensor wide = values.to(at::kFloat);                                         // (n, W)
  const at::Tensor masked = wide == kNone;                                               // (n, W)
  const at::Tensor most = wide.amax(1, /*keepdim=*/true).clamp_min_(-3e38);              // (n, 1)
  const at::Tensor least = at::where(masked, most, wide).amin(1, /*keepdim=*/true);      // (n, 1)
  const at::Tensor step = (most - least).div_(kSteps);                                   // (n, 1)
  const at::Tensor place = (wide - least).div_(step.clamp_min(1e-30)).round_().add_(1);  // (n, W)
  coded.copy_(place.clamp_(1, kSteps + 1).masked_fill_(masked, 0));
  ranges.copy_(at::cat({least, step}, 1));
}

at::Tensor decode_values(const at::Tensor& coded, const at::Tensor& ranges, at::ScalarType type) {
  if (coded.scalar_type() != at::kByte) return coded.to(type);
  const at::Tensor least = ranges.narrow(1, 0, 1), step = ranges.narrow(1, 1, 1);  // (n, 1)
  at::Tensor values = coded.to(at::kFloat).sub_(1).mul_(step).add_(least);         // (n, W)
  return values.masked_fill_(coded == 0, kNone).to(type);
}

}  // namespace temper
