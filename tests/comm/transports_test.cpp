// What the ranks decide together: which pairs share memory, and what happens where that cannot be.
#include "comm/soft_target_transports.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "comm/agree.h"
#include "comm/mpi/shared_window.h"

namespace temper {
namespace {

/// The last rank teaches, the others learn.
class TransportsTest : public testing::Test {
 protected:
  void SetUp() override {
    if (world_.size() < 2) GTEST_SKIP() << "needs two ranks";
    for (int rank = 0; rank + 1 < world_.size(); ++rank) placement_.students.push_back(rank);
    placement_.teachers = {world_.size() - 1};
  }
  int pairs() const { return world_.size() - 1; }
  std::string all_pairs(const std::string& how) const {
    return std::to_string(pairs()) + (pairs() == 1 ? " pair " : " pairs ") + how;
  }

  Communicator world_ = Communicator::world();
  ChannelConfig config_{.max_rows = 2, .seq = 3, .payload = {.vocab = 17}};
  Placement placement_;
};

TEST_F(TransportsTest, OneNodeSharesItsMemory) {
  const SoftTargetTransports transports(world_, placement_, config_, {});
  EXPECT_EQ(transports.describe(), all_pairs("through shared memory"));
  EXPECT_EQ(transports.note(), "");
  EXPECT_EQ(transports.of(0, 0), Transport::kShared);
}

TEST_F(TransportsTest, WithoutRoomAutoTakesMessagesAndSaysWhy) {
  TransportOptions options;
  options.shared_bytes = int64_t{16} << 20;  // what is left free beside the rings
  const SoftTargetTransports transports(world_, placement_, config_, options);
  EXPECT_EQ(transports.describe(), all_pairs("by messages"));
  EXPECT_NE(transports.note().find("of shared memory and /dev/shm has 17 MiB"), std::string::npos)
      << transports.note();
}

TEST_F(TransportsTest, ARingLargerThanTheMachinesMemoryIsNoCrash) {
  config_.lookahead = int64_t{1} << 45;  // times a page
  const SoftTargetTransports transports(world_, placement_, config_, {});
  EXPECT_EQ(transports.describe(), all_pairs("by messages"));
}

TEST_F(TransportsTest, OneRanksLackOfRoomIsEveryRanks) {
  TransportOptions options;
  if (world_.rank() == world_.size() - 1) options.shared_bytes = 0;
  const SoftTargetTransports transports(world_, placement_, config_, options);
  EXPECT_EQ(transports.describe(), all_pairs("by messages"));
}

TEST_F(TransportsTest, AWishThatCannotBeHadIsRefusedOnAllRanks) {
  TransportOptions options;
  options.wish = Transport::kShared;
  options.shared_bytes = 0;
  try {
    const SoftTargetTransports transports(world_, placement_, config_, options);
    ADD_FAILURE() << "shared memory without memory";
  } catch (const AgreedError& error) {
    EXPECT_TRUE(error.user_error);
    EXPECT_NE(std::string(error.what()).find("--teacher.transport shared: the rings of node 0"),
              std::string::npos)
        << error.what();
  }
  options.shared_bytes = -1;
  for (int rank = 0; rank < world_.size(); ++rank) options.node_of_rank.push_back(rank == 0);
  try {
    const SoftTargetTransports transports(world_, placement_, config_, options);
    ADD_FAILURE() << "shared memory across nodes";
  } catch (const AgreedError& error) {
    EXPECT_TRUE(error.user_error);
    EXPECT_NE(std::string(error.what())
                  .find("teacher rank " + std::to_string(world_.size() - 1) +
                        " and student rank 0: they are on different nodes"),
              std::string::npos)
        << error.what();
  }
  options.wish = Transport::kNccl;
  EXPECT_THROW(SoftTargetTransports(world_, placement_, config_, options), AgreedError);
}

TEST(SharedWindowTest, RanksSeeEachOthersMemory) {
  const Communicator world = Communicator::world();
  const Communicator node = world.split_node();
  // Rank r has r·5000 bytes, rank 0 none.
  const int64_t mine = node.rank() * int64_t{5000};
  const SharedWindow window(node, mine);
  EXPECT_TRUE(window.reserve());
  EXPECT_EQ(window.segment(0), nullptr);
  auto* own = static_cast<unsigned char*>(window.segment(node.rank()));
  for (int64_t i = 0; i < mine; ++i) own[i] = static_cast<unsigned char>(node.rank());
  node.barrier();
  for (int rank = 1; rank < node.size(); ++rank) {
    const auto* theirs = static_cast<const unsigned char*>(window.segment(rank));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(theirs) % 4096, 0u);
    EXPECT_EQ(theirs[0], rank);
    EXPECT_EQ(theirs[5000 * rank - 1], rank);
  }
  node.barrier();
  EXPECT_GT(SharedWindow::free_bytes(), 0);
}

}  // namespace
}  // namespace temper
