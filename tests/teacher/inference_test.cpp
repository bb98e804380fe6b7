// The teacher's soft targets of a step are those of the step's temperature.
#include "teacher/inference.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "comm/soft_target_check.h"

namespace temper {
namespace {

TransformerConfig small_shape() {
  TransformerConfig shape;
  shape.vocab = 40;
  shape.positions = 16;
  shape.layers = 1;
  shape.width = 16;
  shape.heads = shape.kv_heads = 2;
  shape.head_width = 8;
  shape.ffn_width = 32;
  shape.tied_head = true;
  return shape;
}

TEST(TeacherInferenceTest, EachStepHasItsOwnTemperature) {
  Transformer teacher(small_shape());
  teacher.init_weights(3);
  teacher.flat_weights().mul_(20);  // so that probabilities differ
  PayloadSpec spec;
  spec.vocab = 40;
  spec.entries = 8;
  spec.dtype = at::kFloat;
  const at::Tensor tokens = at::arange(24, at::kLong).view({3, 8});  // (B, S)
  for (const Payload kind : {Payload::kTopk, Payload::kSample}) {
    spec.kind = kind;
    const RunSchedule schedule{Schedule::parse("0:4,100%:1", "teacher.temperature"), 4};
    LocalSoftTargets changing(TeacherInference(teacher, at::kFloat, spec, schedule, 7));
    for (const auto& [step, temperature] : {std::pair<int64_t, double>{0, 4}, {1, 3}, {3, 1}}) {
      const MicroBatchId id{.step = step, .first_row = 0, .rows = 3};
      const SoftTargets found = changing.targets(id, tokens);
      const auto at_temperature = [&](double constant) {
        LocalSoftTargets source(TeacherInference(teacher, at::kFloat, spec, constant, 7));
        return source.targets(id, tokens).scalars.clone();  // (N)
      };
      EXPECT_TRUE(at::equal(found.scalars, at_temperature(temperature)))
          << payload_name(kind) << " step " << step;
      EXPECT_FALSE(at::equal(found.scalars, at_temperature(temperature + 0.5)))
          << payload_name(kind) << " step " << step;
    }
  }
}

// Whatever the payload makes of it: a NaN in the weights of the last layer reaches all tokens.
TEST(LocalSoftTargetsTest, ATeacherThatMakesNaNIsRefused) {
  Transformer teacher(small_shape());
  teacher.init_weights(3);
  PayloadSpec spec;
  spec.vocab = 40;
  spec.width = 16;
  spec.entries = 8;
  const at::Tensor tokens = at::arange(24, at::kLong).view({3, 8});  // (B, S)
  const MicroBatchId id{.step = 2, .first_row = 3, .rows = 3};
  for (const bool sound : {true, false}) {
    if (!sound) teacher.flat_weights().narrow(0, teacher.parameters().front().offset, 1).fill_(NAN);
    for (const Payload kind :
         {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
      for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
        spec.kind = kind;
        spec.dtype = dtype;
        LocalSoftTargets source(TeacherInference(teacher, at::kFloat, spec, 2.0, 7));
        if (sound) {
          EXPECT_NO_THROW(source.targets(id, tokens)) << payload_name(kind) << " " << dtype;
        } else {
          EXPECT_THROW(source.targets(id, tokens), SoftTargetError)
              << payload_name(kind) << " " << dtype;
        }
      }
    }
  }
}

}  // namespace
}  // namespace temper
