// One contract for every backend of Collectives. NCCL joins where a build has it and each rank
// finds a GPU for itself, and skips visibly elsewhere.
#include "comm/collectives.h"

#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "comm/agree.h"
#include "comm/gpus.h"

namespace temper {
namespace {

struct Backend {
  std::string name;
  bool on_gpu = false;  // tensors
  bool nccl = false;
};

/// With GoogleTest's own printer a Backend would be shown as bytes.
void PrintTo(const Backend& backend, std::ostream* out) { *out << backend.name; }

class CollectivesTest : public testing::TestWithParam<Backend> {
 protected:
  void SetUp() override {
    n_ = world_.size();
    r_ = world_.rank();
    at::Device device = at::kCPU;
    if (GetParam().on_gpu) {
      const int gpus = at::hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0;
      if (gpus == 0) GTEST_SKIP() << "no GPU here";
      if (GetParam().nccl && gpus < n_) GTEST_SKIP() << "needs a GPU for each rank";
      device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(r_ % gpus));
    }
    collectives_ =
        GetParam().nccl ? make_nccl_collectives(world_, device) : make_mpi_collectives(world_);
    options_ = at::device(device);
  }

  Communicator world_ = Communicator::world();
  std::unique_ptr<Collectives> collectives_;
  at::TensorOptions options_;
  int n_ = 0;
  int r_ = 0;
};

TEST_P(CollectivesTest, KnowsItsGroup) {
  EXPECT_EQ(collectives_->rank(), world_.rank());
  EXPECT_EQ(collectives_->size(), world_.size());
}

TEST_P(CollectivesTest, Sums) {
  // Rank r holds i + 10 r at place i: the sum over n ranks is n i + 10 n (n - 1) / 2; for 4 ranks 4
  // i + 60. All are small integers, so float32 is exact too.
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kLong}) {
    const at::Tensor values = at::arange(1000, options_.dtype(type)) + 10 * r_;  // (1000)
    collectives_->all_reduce(values);
    EXPECT_TRUE(values.equal(at::arange(1000, options_.dtype(type)) * n_ + 5 * n_ * (n_ - 1)))
        << type;
  }
}

TEST_P(CollectivesTest, MaximaAndMinima) {
  // Rank r holds {r, -r}: the maximum is {n - 1, 0}, the minimum {0, 1 - n}.
  for (const at::ScalarType type : {at::kFloat, at::kDouble, at::kLong}) {
    const at::Tensor maximum = at::tensor({r_, -r_}, options_.dtype(type));  // (2)
    const at::Tensor minimum = maximum.clone();                              // (2)
    collectives_->all_reduce(maximum, Reduce::kMax);
    collectives_->all_reduce(minimum, Reduce::kMin);
    EXPECT_TRUE(maximum.equal(at::tensor({n_ - 1, 0}, options_.dtype(type)))) << type;
    EXPECT_TRUE(minimum.equal(at::tensor({0, 1 - n_}, options_.dtype(type)))) << type;
  }
}

TEST_P(CollectivesTest, BroadcastsFromEveryRoot) {
  for (int root = 0; root < n_; ++root) {
    for (const at::ScalarType type : {at::kFloat, at::kLong, at::kBFloat16, at::kByte}) {
      const at::Tensor values = at::full({3, 5}, r_ + 1, options_.dtype(type));  // (3, 5)
      collectives_->broadcast(values, root);
      EXPECT_TRUE(values.equal(at::full({3, 5}, root + 1, options_.dtype(type)))) << type;
    }
  }
}

TEST_P(CollectivesTest, WorksInPlaceOnAPartOfATensor) {
  const at::Tensor whole = at::ones({6}, options_);     // (6)
  collectives_->all_reduce(whole.narrow(0, 2, 3));      // (3)
  const at::Tensor expected = at::ones({6}, options_);  // (6)
  expected.narrow(0, 2, 3).fill_(n_);                   // 1 1 n n n 1
  EXPECT_TRUE(whole.equal(expected));
}

TEST_P(CollectivesTest, TheHostMayWait) {
  collectives_->wait_on_host();                          // for nothing
  const at::Tensor values = at::ones({1000}, options_);  // (1000)
  for (int time = 0; time < 2; ++time) {
    collectives_->all_reduce(values);
    collectives_->wait_on_host();
    EXPECT_EQ(values.sum().item<float>(), static_cast<float>(time == 0 ? n_ : n_ * n_) * 1000);
  }
}

TEST_P(CollectivesTest, EmptyTensorsAreFine) {
  const at::Tensor nothing = at::empty({0}, options_);  // (0)
  collectives_->all_reduce(nothing);
  collectives_->broadcast(nothing, 0);
}

TEST_P(CollectivesTest, RefusesStrides) {
  EXPECT_THROW(collectives_->all_reduce(at::ones({4, 2}, options_).t()), c10::Error);  // (2, 4)
}

INSTANTIATE_TEST_SUITE_P(Backends, CollectivesTest,
                         testing::Values(Backend{"MpiOnHost"}, Backend{"MpiOnGpu", true},
                                         Backend{"NcclOnGpu", true, true}),
                         [](const auto& test) { return test.param.name; });

TEST(NcclTest, SaysWhatIsMissing) {
  if (nccl_available()) GTEST_SKIP() << "this build has NCCL";
  const Communicator world = Communicator::world();
  try {
    make_nccl_collectives(world, at::Device(at::kCUDA, 0));
    FAIL() << "made NCCL collectives without NCCL";
  } catch (const c10::Error& error) {
    EXPECT_NE(plain_message(error).find("TEMPER_WITH_CUDA"), std::string::npos)
        << plain_message(error);
  }
}

TEST(NcclTest, AMissingGpuIsEverybodysError) {
  const Communicator world = Communicator::world();
  if (!nccl_available()) GTEST_SKIP() << "this build has no NCCL";
  if (at::hasCUDA()) GTEST_SKIP() << "there is a GPU here";
  EXPECT_THROW(make_nccl_collectives(world, at::Device(at::kCUDA, 0)), AgreedError);
  EXPECT_THROW(make_nccl_collectives(world, at::kCPU), AgreedError);
}

TEST(NcclTest, RefusesTwoRanksOnOneGpu) {
  const Communicator world = Communicator::world();
  if (!nccl_available()) GTEST_SKIP() << "this build has no NCCL";
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU here";
  if (world.size() == 1) GTEST_SKIP() << "needs two ranks";
  try {
    make_nccl_collectives(world, at::Device(at::kCUDA, 0));
    FAIL() << "NCCL with two ranks on one GPU";
  } catch (const c10::Error& error) {
    EXPECT_NE(plain_message(error).find("share one GPU"), std::string::npos)
        << plain_message(error);
  }
}

TEST(GpusOfRanksTest, ACpuHasNoName) {
  const Communicator world = Communicator::world();
  EXPECT_EQ(gpus_of_ranks(world, at::kCPU),
            std::vector<std::string>(static_cast<size_t>(world.size()), ""));
}

}  // namespace
}  // namespace temper
