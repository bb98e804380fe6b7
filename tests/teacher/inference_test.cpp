// The teacher's soft targets of a step are those of the step's temperature.
#include "teacher/inference.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace temper
