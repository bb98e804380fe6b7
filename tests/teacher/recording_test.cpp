// Recording: while a student learns and without one, the bytes are the same; a disk that is full
// ends it in a clear word.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>

#include "data/data_config.h"
#include "teacher/inference.h"
#include "teacher/recorder.h"
#include "teacher/recording_soft_targets.h"
#include "teacher/stored_soft_targets.h"
#include "tests/launch/launcher.h"
#include "tests/teacher/store_example.h"

namespace temper {
namespace {

TransformerConfig small_shape(int64_t vocab) {
  TransformerConfig shape;
  shape.vocab = vocab;
  shape.positions = 64;
  shape.layers = 1;
  shape.width = 32;
  shape.heads = shape.kv_heads = 4;
  shape.head_width = 8;
  shape.ffn_width = 64;
  shape.tied_head = true;
  return shape;
}

class RecordingTest : public ::testing::Test {
 protected:
  RecordingTest()
      : corpus_(open_corpus(DataConfig{}, "", false)), teacher_(small_shape(corpus_->vocab())) {
    teacher_.init_weights(5);
  }

  StoreIndex index_of(Payload kind) const {
    PayloadSpec spec;
    spec.kind = kind;
    spec.vocab = corpus_->vocab();
    spec.width = 32;
    spec.entries = kind == Payload::kTopk || kind == Payload::kSample ? 8 : 0;
    spec.dtype = at::kFloat;
    StoreIndex index = example_index(spec);
    index.seq = 16;
    return index;
  }

  TeacherInference inference(const StoreIndex& index) const {
    return TeacherInference(teacher_, at::kFloat, index.payload, index.temperature, 11);
  }

  /// What a colocated student of part `part` records, step by step.
  void tee(const StoreIndex& index, const std::string& dir, int64_t part) const {
    RecordingSoftTargets source(std::make_unique<LocalSoftTargets>(inference(index)), index, dir,
                                part);
    const RowRange own = share(index.batch, static_cast<int>(part), static_cast<int>(index.parts));
    for (int64_t step = 0; step < index.steps; ++step) {
      for (const RowRange& rows : micro_batches(own, index.micro_batch)) {
        const Batch batch = corpus_->read(Part::kTrain, 11, step * index.batch + rows.begin,
                                          rows.size(), index.seq);
        source.targets({step, rows.begin, rows.size()}, batch.tokens);
      }
    }
    source.finish();
  }

  std::unique_ptr<Corpus> corpus_;
  Transformer teacher_;
};

TEST_F(RecordingTest, WhileTrainingAndWithoutStudentsTheBytesAreTheSame) {
  for (const Payload kind : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    const ScratchDir live, alone;
    const StoreIndex index = index_of(kind);
    for (int64_t part = 0; part < index.parts; ++part) tee(index, live.path(), part);
    const TeacherInference teacher = inference(index);
    int64_t rows = 0;
    for (const ShardId& shard : index.shards()) {
      record_shard(teacher, *corpus_, index, alone.path(), shard,
                   [&](int64_t done, int64_t) { rows += done; });
      const std::string name = index.shard_name(shard);
      EXPECT_EQ(read_text(live / name), read_text(alone / name))
          << payload_name(kind) << " " << name;
      EXPECT_EQ(shard_trouble(index, alone.path(), shard), "");
    }
    EXPECT_EQ(rows, index.rows());
  }
}

TEST_F(RecordingTest, AReplayGivesWhatTheTeacherGave) {
  for (const Payload kind : {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
    const ScratchDir dir;
    const StoreIndex index = index_of(kind);
    for (int64_t part = 0; part < index.parts; ++part) tee(index, dir.path(), part);
    const at::Tensor head = kind == Payload::kHidden ? inference(index).head() : at::Tensor{};
    const ReplayOrder order{index.rows(), 11};
    StoredSoftTargets stored(index, dir.path(), {index.batch, 11, order}, head);
    LocalSoftTargets live(inference(index));
    for (int64_t step = 0; step < index.steps; ++step) {
      for (const RowRange& rows : {RowRange{0, 2}, RowRange{2, 4}, RowRange{4, 5}}) {
        const Batch batch = corpus_->read(Part::kTrain, 11, step * index.batch + rows.begin,
                                          rows.size(), index.seq);
        const MicroBatchId id{step, rows.begin, rows.size()};
        const SoftTargets a = stored.targets(id, batch.tokens);
        const SoftTargets b = live.targets(id, batch.tokens);
        // The draws and the ids exactly; the recording's teacher took other micro-batches of the
        // second part, so that sums may differ in their last bits.
        ASSERT_EQ(a.values.defined(), b.values.defined());
        EXPECT_TRUE(!a.values.defined() || at::allclose(a.values, b.values, 1e-5, 1e-6));
        EXPECT_TRUE(!a.ids.defined() || at::equal(a.ids, b.ids));
        EXPECT_TRUE(!a.scalars.defined() || at::allclose(a.scalars, b.scalars, 1e-5, 1e-6));
        EXPECT_TRUE(!a.head.defined() || at::equal(a.head, b.head));
      }
    }
  }
}

TEST_F(RecordingTest, ADiskThatIsFullIsNamedAndLeavesNoHalfShard) {
  const ScratchDir dir;
  const StoreIndex index = index_of(Payload::kFull);
  // A limit on the size of files stands in for the disk.
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 40000;
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  std::string words;
  try {
    tee(index, dir.path(), 0);
  } catch (const c10::Error& error) {
    words = error.what_without_backtrace();
  }
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(words.find("--teacher.tee: cannot write "), std::string::npos) << words;
  EXPECT_NE(words.find(" bytes to " + dir.path() + "/shard-000000-0000.soft: File too large"),
            std::string::npos)
      << words;
  EXPECT_NE(words.find("temper record"), std::string::npos) << words;
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
}

TEST_F(RecordingTest, ATeeThatEndsEarlySaysSo) {
  const ScratchDir dir;
  const StoreIndex index = index_of(Payload::kTopk);
  RecordingSoftTargets source(std::make_unique<LocalSoftTargets>(inference(index)), index,
                              dir.path(), 0);
  source.targets({0, 0, 2}, corpus_->read(Part::kTrain, 11, 0, 2, index.seq).tokens);
  EXPECT_THROW(source.finish(), c10::Error);
}

}  // namespace
}  // namespace temper
