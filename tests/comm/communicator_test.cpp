// Groups, messages in pieces, gathers. Expected values follow from ranks alone.
#include "comm/mpi/communicator.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <unistd.h>
#include <type_traits>

#include "comm/agree.h"

namespace temper {
namespace {

static_assert(std::is_nothrow_move_constructible_v<Communicator> &&
              std::is_nothrow_move_assignable_v<Communicator>);
static_assert(!std::is_copy_constructible_v<Communicator>);

TEST(CommunicatorTest, WorldAndSelf) {
  const Communicator world = Communicator::world();
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(world.size(), size);
  EXPECT_NE(world.handle(), MPI_COMM_WORLD);
  const Communicator self = Communicator::self();
  EXPECT_EQ(self.size(), 1);
  EXPECT_EQ(self.rank(), 0);
  EXPECT_EQ(self.all_reduce(int64_t{5}), 5);
}

TEST(CommunicatorTest, MovesLeaveNothingBehind) {
  Communicator first = Communicator::world();
  const MPI_Comm handle = first.handle();
  Communicator second = std::move(first);
  EXPECT_EQ(first.handle(),
            MPI_COMM_NULL);  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_EQ(second.handle(), handle);
  Communicator third = Communicator::self();
  third = std::move(second);
  EXPECT_EQ(third.handle(), handle);
  EXPECT_EQ(third.all_reduce(int64_t{1}), third.size());
}

TEST(CommunicatorTest, SplitOrdersByKey) {
  const Communicator world = Communicator::world();
  // Even and odd ranks, backwards: of 4 ranks, {2, 0} and {3, 1}.
  const int color = world.rank() % 2;
  const Communicator half = world.split(color, -world.rank());
  const int members = (world.size() - color + 1) / 2;
  EXPECT_EQ(half.size(), members);
  EXPECT_EQ(half.rank(), members - 1 - world.rank() / 2);
  const at::Tensor ranks = half.all_gather(at::full({1}, world.rank(), at::kLong));  // (members)
  for (int i = 0; i < members; ++i)
    EXPECT_EQ(ranks[i].item<int64_t>(), color + 2 * (members - 1 - i));
  EXPECT_THROW(world.split(-1, 0), c10::Error);
}

TEST(CommunicatorTest, AllTestRanksShareANode) {
  const Communicator world = Communicator::world();
  const Communicator node = world.split_node();
  EXPECT_EQ(node.size(), world.size());
  EXPECT_EQ(node.rank(), world.rank());
}

TEST(CommunicatorTest, DupKeepsMessagesApart) {
  const Communicator world = Communicator::world();
  const Communicator other = world.dup();
  const int me = world.rank();
  Request in_other = other.receive_async(at::zeros({1}), me, 1);  // (1)
  Request in_world = world.receive_async(at::zeros({1}), me, 1);  // (1)
  world.send_async(at::full({1}, 1.0F), me, 1).wait();            // (1)
  EXPECT_EQ(in_world.wait().item<float>(), 1.0F);
  EXPECT_FALSE(in_other.test());
  other.send_async(at::full({1}, 2.0F), me, 1).wait();  // (1)
  EXPECT_EQ(in_other.wait().item<float>(), 2.0F);
}

/// Pieces of 64 bytes, and messages around the ring of ranks.
class PiecesTest : public testing::Test {
 protected:
  PiecesTest() { world_.set_piece_bytes(64); }

  at::Tensor bytes(int64_t count, int of_rank) const {
    return (at::arange(count, at::kLong) * 7 + of_rank).to(at::kByte);  // (count)
  }
  int left() const { return (world_.rank() + world_.size() - 1) % world_.size(); }
  int right() const { return (world_.rank() + 1) % world_.size(); }

  Communicator world_ = Communicator::world();
};

TEST_F(PiecesTest, MessagesOfEverySizeArriveInOrder) {
  // Below, at and above whole numbers of pieces; all under way at once with one tag.
  const std::vector<int64_t> sizes = {0, 1, 63, 64, 65, 127, 128, 129, 640, 1000};
  std::vector<Request> receives;
  std::vector<Request> sends;
  for (const int64_t size : sizes) {
    receives.push_back(world_.receive_async(at::empty({size}, at::kByte), left(), 2));  // (size)
    sends.push_back(world_.send_async(bytes(size, world_.rank()), right(), 2));
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    EXPECT_TRUE(receives[i].wait().equal(bytes(sizes[i], left()))) << sizes[i];
    EXPECT_EQ(receives[i].bytes(), sizes[i]);
  }
}

TEST_F(PiecesTest, PartsOfABufferSayHowLongTheyAre) {
  const std::vector<int64_t> sizes = {0, 300, 64, 1, 128, 65, 299};
  std::vector<Request> receives;
  std::vector<Request> sends;
  for (const int64_t size : sizes) {
    receives.push_back(world_.receive_part_async(at::zeros({300}, at::kByte), left(), 2));  // (300)
    sends.push_back(world_.send_part_async(bytes(300, world_.rank()), size, right(), 2));
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    receives[i].wait();
    EXPECT_EQ(receives[i].bytes(), sizes[i]);
    EXPECT_TRUE(receives[i]
                    .buffer()
                    .narrow(0, 0, sizes[i])
                    .equal(bytes(300, left()).narrow(0, 0, sizes[i])));
    EXPECT_EQ(
        receives[i].buffer().narrow(0, sizes[i], 300 - sizes[i]).count_nonzero().item<int64_t>(),
        0);
  }
  EXPECT_THROW(world_.send_part_async(bytes(8, 0), 9, right(), 2), c10::Error);
}

TEST_F(PiecesTest, OtherPieceCountsAreRefusedInsteadOfAwaited) {
  const std::vector<std::pair<int64_t, int64_t>> sent_and_expected = {
      {64, 128}, {128, 64}, {10, 300}, {300, 10}, {128, 129}, {129, 128}};
  for (const auto& [sent, expected] : sent_and_expected) {
    const Communicator fresh = world_.dup();  // pieces that were refused stay behind in it
    // The message is there before its receive: Open MPI 4.1 cuts what a rank sends itself without a
    // word if it is not.
    Request send = fresh.send_async(at::zeros({sent}, at::kByte), right(), 3);  // (sent)
    fresh.barrier();
    Request receive =
        fresh.receive_async(at::empty({expected}, at::kByte), left(), 3);  // (expected)
    EXPECT_THROW(receive.wait(), c10::Error) << sent << " bytes sent, " << expected << " expected";
    send.wait();
  }
}

TEST_F(PiecesTest, CollectivesCutToo) {
  const at::Tensor sum = at::arange(100, at::kFloat) + world_.rank();  // (100), 400 bytes
  world_.all_reduce(sum);
  const int n = world_.size();
  // sum over r of (i + r) = n i + n (n - 1) / 2
  EXPECT_TRUE(sum.equal(at::arange(100, at::kFloat) * n + n * (n - 1) / 2));  // (100)
  const at::Tensor sent = bytes(333, world_.rank());                          // (333)
  world_.broadcast(sent, n - 1);
  EXPECT_TRUE(sent.equal(bytes(333, n - 1)));
  EXPECT_EQ(world_.broadcast(std::string(200, static_cast<char>('a' + world_.rank())), n - 1),
            std::string(200, static_cast<char>('a' + n - 1)));
  const at::Tensor all =
      world_.all_gather(bytes(100, world_.rank()));  // (100 n): over one piece from 1 rank on
  for (int r = 0; r < n; ++r) EXPECT_TRUE(all.narrow(0, 100 * r, 100).equal(bytes(100, r)));
}

TEST(CommunicatorTest, LargeMessages) {
  // 24 MB: past the size up to which Open MPI sends at once, so that it needs both sides.
  const Communicator world = Communicator::world();
  constexpr int64_t kCount = 6'000'000;
  const int to = (world.rank() + 1) % world.size();
  const int from = (world.rank() + world.size() - 1) % world.size();
  Request receive = world.receive_async(at::empty({kCount}), from, 9);  // (kCount)
  Request send =
      world.send_async(at::arange(kCount, at::kFloat) + world.rank(), to, 9);  // (kCount)
  EXPECT_TRUE(receive.wait().equal(at::arange(kCount, at::kFloat) + from));
}

TEST(CommunicatorTest, GathersStringsAndTensorsOfUnevenLengths) {
  const Communicator world = Communicator::world();
  const int r = world.rank();
  // rank r gives "r" r times, so rank 0 gives nothing
  const std::vector<std::string> words =
      world.all_gather(std::string(static_cast<size_t>(r), static_cast<char>('0' + r)));
  ASSERT_EQ(words.size(), static_cast<size_t>(world.size()));
  for (int i = 0; i < world.size(); ++i) {
    EXPECT_EQ(words[static_cast<size_t>(i)],
              std::string(static_cast<size_t>(i), static_cast<char>('0' + i)));
  }
  // 4 ranks: 1, 2 2, 3 3 3
  const at::Tensor all = world.all_gather(at::full({r}, r, at::kDouble));  // (sum of ranks)
  EXPECT_EQ(all.scalar_type(), at::kDouble);
  int64_t at = 0;
  for (int i = 0; i < world.size(); ++i) {
    for (int k = 0; k < i; ++k) EXPECT_EQ(all[at++].item<double>(), i);
  }
  EXPECT_EQ(all.numel(), at);
}

TEST(CommunicatorTest, GatherRefusesMixedTypes) {
  const Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank cannot differ from itself";
  const at::ScalarType type = world.rank() == 0 ? at::kFloat : at::kInt;
  EXPECT_THROW(world.all_gather(at::zeros({1}, type)), c10::Error);  // (1), on every rank
}

TEST(CommunicatorTest, RefusesWhatMpiCannotTake) {
  const Communicator world = Communicator::world();
  EXPECT_THROW(world.all_reduce(at::zeros({4, 4}).t()), c10::Error);          // (4, 4)
  EXPECT_THROW(world.all_reduce(at::zeros({4}, at::kBFloat16)), c10::Error);  // (4)
  EXPECT_THROW(world.send_async(at::zeros({4, 4}).t(), 0, 1), c10::Error);    // (4, 4)
}

TEST(CommunicatorTest, ErrorsNameCallRankAndHost) {
  const Communicator world = Communicator::world();
  try {
    world.send_async(at::zeros({1}), world.size(), 1);  // (1); there is no such rank
    FAIL() << "MPI accepted a rank that does not exist";
  } catch (const c10::Error& error) {
    const std::string text = plain_message(error);
    char host[MPI_MAX_PROCESSOR_NAME];
    int length = 0;
    MPI_Get_processor_name(host, &length);
    for (const std::string& part : {std::string("MPI_Isend"), std::string("MPI_ERR_RANK"),
                                    std::string(host), "rank " + std::to_string(world.rank())}) {
      EXPECT_NE(text.find(part), std::string::npos) << part << " is missing in: " << text;
    }
  }
}

TEST(CommunicatorTest, BarrierWaitsForTheLast) {
  const Communicator world = Communicator::world();
  // Rank 0 sends to the others before it enters; who has left the barrier must find the message
  // there.
  std::vector<Request> sends;
  if (world.rank() == 0) {
    usleep(30'000);
    for (int to = 1; to < world.size(); ++to)
      sends.push_back(world.send_async(at::ones({1}), to, 4));  // (1)
  }
  world.barrier();
  if (world.rank() != 0) {
    int found = 0;
    for (int look = 0; look < 1000 && found == 0; ++look) {
      MPI_Iprobe(0, 4, world.handle(), &found, MPI_STATUS_IGNORE);
    }
    EXPECT_EQ(found, 1);
    world.receive_async(at::zeros({1}), 0, 4).wait();  // (1)
  }
}

}  // namespace
}  // namespace temper
