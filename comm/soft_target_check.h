// Soft targets are looked at before anybody learns from them.
#pragma once

#include <stdexcept>
#include <string>

#include "comm/payload.h"
#include "comm/soft_targets.h"

namespace temper {

/// A teacher made soft targets that are no finite numbers. Unlike a student's step, which may be
/// skipped, this ends the job: the teacher's weights do not change, so it would come again.
class SoftTargetError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Throws SoftTargetError naming `source` ("teacher rank 0"), step and rows where a value is NaN or
/// +infinity, and c10::Error where a part has another shape than `spec` says. -infinity is a
/// probability of 0, and allowed. One pass over the values; ids are checked when they are unpacked.
void check_soft_targets(const PayloadView& view, const PayloadSpec& spec, const MicroBatchId& id,
                        int64_t tokens, const std::string& source);

}  // namespace temper
