// No tensor of the size of all logits: neither in a step of distillation, whatever the payload but
// `full`, which is that matrix, nor in evaluation or in the fit of the temperature.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "student/calibration.h"
#include "student/evaluation.h"
#include "student/training_step.h"
#include "teacher/inference.h"
#include "tests/student/counting_allocator.h"

namespace temper {
namespace {

constexpr int64_t kVocab = 30000, kRows = 4, kSeq = 512;
constexpr size_t kLogits = size_t{kRows} * kSeq * kVocab;  // elements

/// Random ids.
class RandomCorpus : public Corpus {
 public:
  int64_t vocab() const override { return kVocab; }
  int64_t rows(Part, int64_t) const override { return 64; }
  Batch read(Part, uint64_t, int64_t, int64_t count, int64_t seq) const override {
    const at::Tensor ids = at::randint(kVocab, {count, seq + 1}, at::kLong);  // (B, S + 1)
    return {ids.narrow(1, 0, seq).contiguous(), ids.narrow(1, 1, seq).contiguous()};
  }
  std::string describe() const override { return "random ids"; }
  uint64_t fingerprint() const override { return 1; }
};

Transformer small_model(uint64_t seed) {
  TransformerConfig config;
  config.vocab = kVocab;
  config.positions = kSeq;
  config.layers = 1;
  config.width = 32;
  config.heads = config.kv_heads = 1;
  config.head_width = 32;
  config.ffn_width = 64;
  Transformer model(config);
  model.init_weights(seed);
  return model;
}

TEST(AllocationTest, NoTensorHoldsAllLogits) {
  at::manual_seed(1);
  const RandomCorpus corpus;
  const Communicator self = Communicator::self();
  const std::unique_ptr<Collectives> collectives = make_mpi_collectives(self);
  const at::ScalarType compute = at::kBFloat16;
  const Transformer teacher = small_model(2);
  for (const Payload kind : {Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    Transformer student = small_model(3);
    PayloadSpec payload;
    payload.kind = kind;
    payload.vocab = kVocab;
    payload.width = 32;
    payload.entries = 8;
    payload.dtype = compute;
    LocalSoftTargets source(TeacherInference(teacher, compute, payload, 2.0, 5));
    TrainConfig config;
    config.batch = kRows;
    config.seq = kSeq;
    config.steps = 3;
    TrainingStep step(student, corpus, config, {0.5, 2.0}, compute, 7, *collectives, &source);
    CountingAllocator allocator;
    for (int64_t i = 0; i < 2; ++i) step.run(i);
    EXPECT_GT(allocator.largest(), size_t{1} << 20);                // it does count
    EXPECT_LT(allocator.largest(), kLogits) << payload_name(kind);  // not even a byte for each
  }
  const Transformer student = small_model(3);
  CountingAllocator allocator;
  const HeldOut data{&corpus, Part::kTest, kSeq, kRows * kSeq, kRows};
  calibrate(student, data, compute, self);
  evaluate(student, data, compute, self, {1.0, 2.0});
  EXPECT_LT(allocator.largest(), kLogits);
}

}  // namespace
}  // namespace temper
