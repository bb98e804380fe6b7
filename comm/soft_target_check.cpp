#include "comm/soft_target_check.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>
#include <vector>

namespace temper {
namespace {

// A sum has a NaN in it where a value has, and is never finite where one is +infinity. It may also
// be so for other reasons: then every value is looked at. In chunks, since a sum of bf16 makes a
// copy in fp32 first.
bool sound(const at::Tensor& values) {
  if (!values.defined() || values.scalar_type() == at::kByte || values.numel() == 0) return true;
  const at::NoGradGuard no_grad;
  const int64_t rows = values.size(0);
  const int64_t step =
      values.is_cuda() ? rows : std::max<int64_t>(1, (int64_t{1} << 20) / values.size(1));
  std::vector<at::Tensor> sums;  // of ()
  for (int64_t begin = 0; begin < rows; begin += step)
    sums.push_back(values.narrow(0, begin, std::min(step, rows - begin)).sum(at::kFloat));
  if (std::isfinite(at::stack(sums).sum().item<float>())) return true;
  for (int64_t begin = 0; begin < rows; begin += step) {
    const at::Tensor part = values.narrow(0, begin, std::min(step, rows - begin));  // (step, W)
    if (at::isnan(part).any().item<bool>() || at::isposinf(part).any().item<bool>()) return false;
  }
  return true;
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
