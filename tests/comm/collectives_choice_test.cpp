// Which backend carries a group's collectives, whatever its ranks compute on.
#include "comm/collectives_choice.h"

#include <gtest/gtest.h>

#include "comm/gpus.h"

namespace temper {
namespace {

using Names = std::vector<std::string>;

/// Of as many ranks, on two hosts.
Names names(size_t ranks) {
  Names all;
  for (size_t rank = 0; rank < ranks; ++rank)
    all.push_back("rank " + std::to_string(rank) + (rank % 2 == 0 ? " (a)" : " (b)"));
  return all;
}

CollectivesChoice choice_of(const Names& gpus, bool nccl = true) {
  return choose_collectives(gpus, names(gpus.size()), nccl);
}

TEST(CollectivesChoiceTest, CpusShareMemoryOverMpi) {
  for (const bool nccl : {false, true}) {
    const CollectivesChoice choice = choice_of({"", "", ""}, nccl);
    EXPECT_FALSE(choice.nccl);
    EXPECT_TRUE(choice.shares_memory);
    EXPECT_EQ(choice.note, "");
  }
}

// Under Slurm's --gpus-per-task=1 each rank's GPU has the number 0, and a name of its own.
TEST(CollectivesChoiceTest, AGpuForEachRankIsForNccl) {
  for (const Names& gpus : {Names{"x"}, Names{"x", "y"}, Names{"x", "y", "z", "w"}}) {
    const CollectivesChoice choice = choice_of(gpus);
    EXPECT_TRUE(choice.nccl);
    EXPECT_EQ(choice.note, "");
  }
}

// CUDA_VISIBLE_DEVICES 0,1 and 1,0: other numbers, one GPU.
TEST(CollectivesChoiceTest, ASharedGpuIsForMpiAndANoteSaysWhose) {
  const CollectivesChoice choice = choice_of({"x", "y", "z", "y"});
  EXPECT_FALSE(choice.nccl);
  EXPECT_FALSE(choice.shares_memory);
  EXPECT_EQ(choice.note.rfind("rank 1 (b) and rank 3 (b) share one GPU: MPI", 0), 0u)
      << choice.note;
}

// Every rank must come to the same backend, those without a GPU too.
TEST(CollectivesChoiceTest, AMixedGroupIsForMpiWithoutSharedMemory) {
  for (const Names& gpus : {Names{"", "x"}, Names{"x", ""}, Names{"", "x", "x", ""}}) {
    const CollectivesChoice choice = choice_of(gpus);
    EXPECT_FALSE(choice.nccl);
    EXPECT_FALSE(choice.shares_memory);
    EXPECT_NE(choice.note.find("on a GPU and rank "), std::string::npos) << choice.note;
  }
  EXPECT_EQ(choice_of({"", "x"}).note.rfind(
                "rank 1 (b) computes on a GPU and rank 0 (a) on a CPU: MPI", 0),
            0u);
}

TEST(CollectivesChoiceTest, ABuildWithoutNcclSaysSo) {
  const CollectivesChoice choice = choice_of({"x", "y"}, /*nccl=*/false);
  EXPECT_FALSE(choice.nccl);
  EXPECT_NE(choice.note.find("has no NCCL"), std::string::npos) << choice.note;
}

TEST(RanksOnOneGpuTest, FindsTheFirstPair) {
  EXPECT_FALSE(ranks_on_one_gpu({}));
  EXPECT_FALSE(ranks_on_one_gpu({"", "", "x"}));  // CPUs are no GPU
  EXPECT_FALSE(ranks_on_one_gpu({"x", "y", "z"}));
  EXPECT_EQ(ranks_on_one_gpu({"x", "y", "", "y", "x"}), std::pair(1, 3));
}

}  // namespace
}  // namespace temper
