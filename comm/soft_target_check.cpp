#include "comm/soft_target_check.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <cmath>

namespace temper {
namespace {

// A sum has a NaN in it where a value has, and is never finite where one is +infinity. It may also
// be so for other reasons: then every value is looked at.
bool sound(const at::Tensor& values) {
  if (!values.defined() || values.scalar_type() == at::kByte || values.numel() == 0) return true;
  const at::NoGradGuard no_grad;
  if (std::isfinite(values.sum(at::kFloat).item<float>())) return true;
  return !(at::isnan(values).any().item<bool>() || at::isposinf(values).any().item<bool>());
}

void check_shape(const at::Tensor& part, const char* name, int64_t tokens, int64_t columns,
                 const std::string& source) {
  const bool fits = columns == 0 ? !part.defined()
                                 : part.defined() && part.dim() == 2 && part.size(0) == tokens &&
                                       part.size(1) == columns;
  TORCH_CHECK(fits, "soft targets of ", source, ": ", name, " of ",
              part.defined() ? c10::str(part.sizes()) : "no size", " where ", tokens, " x ",
              columns, " are right");
}

}  // namespace

void check_soft_targets(const PayloadView& view, const PayloadSpec& spec, const MicroBatchId& id,
                        int64_t tokens, const std::string& source) {
  check_shape(view.scalars, "scalars", tokens, spec.scalars_per_token(), source);
  check_shape(view.values, "values", tokens, spec.values_per_token(), source);
  check_shape(view.ids, "ids", tokens, spec.id_bytes_per_token(), source);
  if (sound(view.values) && sound(view.scalars)) return;
  throw SoftTargetError(c10::str(
      "soft targets of ", source, " for step ", id.step, ", rows ", id.first_row, " to ",
      id.first_row + id.rows - 1, " of the batch (payload ", payload_name(spec.kind),
      "), are no finite numbers: the teacher's weights or its precision are at fault, and nothing "
      "was learnt from them. Check the teacher with 'temper evaluate --model.path ...', or give "
      "--run.precision fp32"));
}

}  // namespace temper
