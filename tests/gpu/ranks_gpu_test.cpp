// Ranks with a GPU each over NCCL: gradients, and the stream of soft targets. All of them leave the
// first GPU current: nothing may depend on which one is. tests/comm/collectives_test.cpp, the
// contract of all backends, is part of this program, too.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <thread>

#include "comm/collectives.h"
#include "comm/collectives_choice.h"
#include "comm/gpus.h"
#include "tests/comm/channel_job.h"
#include "tests/gpu/gpu_test.h"

namespace temper {
namespace {

class RanksOnGpusTest : public GpuTest {
 protected:
  void SetUp() override {
    if (world_.size() < 2) GTEST_SKIP() << "needs two ranks";
    if (gpus() < world_.size()) GTEST_SKIP() << "needs a GPU for each rank";
    device_ = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(world_.rank()));
  }

  /// Rank r's summand: i + 10 r at place i, small integers.
  at::Tensor summand(int64_t n, int rank) const {
    return at::arange(n, at::TensorOptions(at::kFloat).device(device_)).remainder_(1000) +
           10 * rank;  // (n)
  }
  /// Of all ranks.
  at::Tensor sum(int64_t n) const {
    at::Tensor all = summand(n, 0);  // (n)
    for (int rank = 1; rank < world_.size(); ++rank) all = all + summand(n, rank);
    return all;
  }
  /// A teacher, the last rank, and a student.
  ChannelJob job() const {
    ChannelJob job;
    job.teachers = {world_.size() - 1};
    job.students = {0};
    job.rows_of_student = {5};  // 3 micro-batches, the last one short
    job.transport.wish = Transport::kNccl;
    job.transport.device = device_;
    return job;
  }

  Communicator world_ = Communicator::world();
  at::Device device_ = at::kCPU;
};

TEST_F(RanksOnGpusTest, EachGpuHasANameOfItsOwn) {
  const std::vector<std::string> gpus = gpus_of_ranks(world_, device_);
  EXPECT_FALSE(ranks_on_one_gpu(gpus));
  EXPECT_TRUE(choose_collectives(gpus, gpus, nccl_available()).nccl);
  const std::vector<std::string> first = gpus_of_ranks(world_, at::Device(at::kCUDA, 0));
  EXPECT_EQ(ranks_on_one_gpu(first), std::pair(0, 1));
}

TEST_F(RanksOnGpusTest, SumsOfGradients) {
  const auto collectives = make_nccl_collectives(world_, device_);
  for (const int64_t n : {1, 17, 100'003}) {
    SCOPED_TRACE(n);
    const Shard own = shard_of(n, world_.rank(), world_.size());
    at::Tensor flat = summand(n, world_.rank());  // (n)
    collectives->start(Collective::kReduceScatter, flat);
    collectives->finish();
    collectives->wait_on_host();
    EXPECT_TRUE(
        at::equal(flat.narrow(0, own.begin, own.count), sum(n).narrow(0, own.begin, own.count)));
    collectives->start(Collective::kAllGather, flat);
    collectives->finish();
    EXPECT_TRUE(at::equal(flat, sum(n)));  // on the same stream
    flat = summand(n, world_.rank());
    collectives->start(Collective::kAllReduce, flat);
    collectives->wait_on_host();
    EXPECT_TRUE(at::equal(flat, sum(n)));
  }
}

// As autograd does it.
TEST_F(RanksOnGpusTest, AnotherThreadMayStart) {
  const auto collectives = make_nccl_collectives(world_, device_);
  ASSERT_TRUE(collectives->any_thread());
  const at::Tensor flat = summand(5000, world_.rank());  // (5000)
  std::thread([&] { collectives->start(Collective::kAllReduce, flat); }).join();
  collectives->wait_on_host();
  EXPECT_TRUE(at::equal(flat, sum(5000)));
}

// The first grant's receive and the teacher's wait for its credit are the case of
// Note [First transfer].
TEST_F(RanksOnGpusTest, TheStreamDeliversEverything) {
  for (const int64_t lookahead : {0, 1, 2, 5}) {
    for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
      ChannelJob own = job();
      own.config.lookahead = lookahead;
      own.config.payload.dtype = type;
      EXPECT_EQ(world_.all_reduce(run_job(world_, own).units), 2 * 3 * own.steps);
    }
  }
}

TEST_F(RanksOnGpusTest, LargeMessages) {
  ChannelJob own = job();
  own.steps = 3;
  own.config.seq = 256;
  own.config.payload.vocab = 32768;  // 2 rows: 32 MB
  own.student_delay_us = 2000;
  own.teacher_batch = 2;
  EXPECT_EQ(world_.all_reduce(run_job(world_, own).units), 2 * 3 * own.steps);
}

// What --teacher.tee takes.
TEST_F(RanksOnGpusTest, ThePayloadIsRecordedOnTheCpu) {
  ChannelJob own = job();
  own.config.max_rows = 2;
  const Placement placement{.teachers = own.teachers, .students = own.students};
  const SoftTargetTransports transports(world_, placement, own.config, own.transport);
  EXPECT_EQ(transports.describe(), "1 pair over NCCL");
  if (placement.is_teacher(world_.rank())) {
    SoftTargetSender sender(transports);
    const PayloadView out = sender.acquire(0, 2);
    EXPECT_EQ(out.values.device(), device_);
    out.values.copy_(job_logits(own.config, 0, 0, 2).flatten(0, 1));
    sender.send(0, job_header(own.config, 0, 0, 2));
    sender.finish();
  } else if (world_.rank() == 0) {
    SoftTargetReceiver receiver(transports, 1);
    const SoftTargets soft = receiver.targets({.step = 0, .first_row = 0, .rows = 2},
                                              job_tokens(0, 0, 2, own.config.seq));
    EXPECT_EQ(soft.values.device(), device_);
    const PayloadView view = receiver.payload();
    EXPECT_TRUE(view.values.is_cpu() && view.values.is_contiguous());
    EXPECT_TRUE(view.values.equal(job_logits(own.config, 0, 0, 2).flatten(0, 1)));
  }
}

}  // namespace
}  // namespace temper
