// A Request owns its buffer and its message, whatever happens to it.
#include "comm/mpi/request.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <type_traits>

#include "comm/agree.h"
#include "comm/mpi/communicator.h"

namespace temper {
namespace {

static_assert(std::is_nothrow_move_constructible_v<Request> &&
              std::is_nothrow_move_assignable_v<Request>);
static_assert(!std::is_copy_constructible_v<Request> && !std::is_copy_assignable_v<Request>);

constexpr int kTag = 5;

/// Every rank sends to itself: the same at any number of ranks.
class RequestTest : public testing::Test {
 protected:
  Communicator world_ = Communicator::world();
  int me_ = world_.rank();
};

TEST_F(RequestTest, WaitTwiceIsHarmless) {
  Request receive = world_.receive_async(at::zeros({3}), me_, kTag);            // (3)
  Request send = world_.send_async(at::tensor({1.0F, 2.0F, 3.0F}), me_, kTag);  // (3)
  EXPECT_TRUE(receive.wait().equal(at::tensor({1.0F, 2.0F, 3.0F})));            // (3)
  EXPECT_TRUE(receive.wait().equal(at::tensor({1.0F, 2.0F, 3.0F})));            // (3)
  EXPECT_TRUE(receive.test());
  EXPECT_FALSE(receive.active());
  EXPECT_EQ(receive.bytes(), 12);
  send.wait();
  send.wait();
  EXPECT_TRUE(send.test());
}

TEST_F(RequestTest, DefaultIsComplete) {
  Request request;
  EXPECT_FALSE(request.active());
  EXPECT_TRUE(request.test());
  EXPECT_FALSE(request.wait().defined());
}

TEST_F(RequestTest, TestIsFalseUntilTheMessageComes) {
  Request receive = world_.receive_async(at::zeros({1}), me_, kTag);  // (1)
  EXPECT_FALSE(receive.test());
  EXPECT_TRUE(receive.active());
  EXPECT_EQ(receive.bytes(), 0);
  world_.send_async(at::ones({1}), me_, kTag).wait();  // (1)
  EXPECT_EQ(receive.wait().item<float>(), 1.0F);
}

TEST_F(RequestTest, MovingHandsTheMessageOn) {
  Request first = world_.receive_async(at::zeros({2}), me_, kTag);  // (2)
  Request second = std::move(first);
  EXPECT_FALSE(first.active());  // NOLINT(bugprone-use-after-move): that is what is tested
  EXPECT_TRUE(first.test());
  EXPECT_TRUE(second.active());
  world_.send_async(at::ones({2}), me_, kTag).wait();  // (2)
  Request third;
  third = std::move(second);
  EXPECT_FALSE(second.active());                   // NOLINT(bugprone-use-after-move)
  EXPECT_TRUE(third.wait().equal(at::ones({2})));  // (2)
}

TEST_F(RequestTest, AssigningWaitsForTheOldMessage) {
  const at::Tensor buffer = at::zeros({2});                    // (2)
  Request send = world_.send_async(at::ones({2}), me_, kTag);  // (2)
  Request receive = world_.receive_async(buffer, me_, kTag);
  receive = Request();
  EXPECT_TRUE(buffer.equal(at::ones({2})));  // (2)
}

TEST_F(RequestTest, DestructorWaits) {
  const at::Tensor buffer = at::zeros({1 << 20});                    // (2^20)
  Request send = world_.send_async(at::ones({1 << 20}), me_, kTag);  // (2^20)
  { const Request receive = world_.receive_async(buffer, me_, kTag); }
  EXPECT_TRUE(buffer.equal(at::ones({1 << 20})));  // (2^20)
}

TEST_F(RequestTest, DestructorWaitsForALateMessage) {
  if (world_.size() == 1) GTEST_SKIP() << "needs two ranks";
  if (me_ == 0) {
    const at::Tensor buffer = at::zeros({2});  // (2)
    { const Request receive = world_.receive_async(buffer, 1, kTag); }
    EXPECT_TRUE(buffer.equal(at::ones({2})));  // (2)
  }
  if (me_ == 1) {
    usleep(30'000);
    world_.send_async(at::ones({2}), 0, kTag).wait();  // (2)
  }
}

TEST_F(RequestTest, OwnsTheBufferOfASend) {
  const at::Tensor buffer = at::zeros({1 << 20});  // (2^20)
  Request send;
  {
    const at::Tensor values = at::full({1 << 20}, 7.0F);  // (2^20)
    send = world_.send_async(values, me_, kTag);
  }
  for (int i = 0; i < 4; ++i)
    at::full({1 << 20}, -1.0F);  // (2^20), over the memory if it were free
  EXPECT_TRUE(
      world_.receive_async(buffer, me_, kTag).wait().equal(at::full({1 << 20}, 7.0F)));  // (2^20)
}

TEST_F(RequestTest, UnwindingDoesNotWaitForAMessageThatNeverComes) {
  try {
    const Request receive = world_.receive_async(at::zeros({1}), me_, kTag);  // (1)
    throw std::runtime_error("the job fails");
  } catch (const std::runtime_error& error) {
    EXPECT_STREQ(error.what(), "the job fails");
  }
  // The receive is gone: the next message goes to the next receive.
  Request receive = world_.receive_async(at::zeros({1}), me_, kTag);  // (1)
  world_.send_async(at::full({1}, 4.0F), me_, kTag).wait();           // (1)
  EXPECT_EQ(receive.wait().item<float>(), 4.0F);
}

TEST_F(RequestTest, AbandonEndsAReceive) {
  Request receive = world_.receive_async(at::zeros({1}), me_, kTag);  // (1)
  receive.abandon();
  EXPECT_FALSE(receive.active());
  EXPECT_TRUE(receive.test());
}

TEST_F(RequestTest, MessageOfAnotherSizeIsAnErrorThatNamesBoth) {
  const int left = (me_ + world_.size() - 1) % world_.size();
  for (const int64_t sent : {int64_t{2}, int64_t{5}}) {
    // The message is there before its receive: Open MPI 4.1 cuts what a rank sends itself without a
    // word if it is not.
    const Request send =
        world_.send_async(at::zeros({sent}), (me_ + 1) % world_.size(), kTag);  // (sent)
    world_.barrier();
    Request receive = world_.receive_async(at::zeros({3}), left, kTag);  // (3)
    try {
      receive.wait();
      FAIL() << sent << " floats were received into 3";
    } catch (const c10::Error& error) {
      const std::string text = plain_message(error);
      EXPECT_NE(text.find("receive of 12 bytes from rank " + std::to_string(left)),
                std::string::npos)
          << text;
      EXPECT_NE(text.find(std::to_string(4 * sent) + " bytes"), std::string::npos) << text;
    }
    EXPECT_FALSE(receive.active());
  }
}

}  // namespace
}  // namespace temper
