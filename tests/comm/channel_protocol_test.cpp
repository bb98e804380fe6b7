// What the channel promises beside delivery: how far teachers run ahead, and what is refused. One
// teacher (the last rank), one student (rank 0); other ranks look on.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "channel_job.h"
#include "comm/agree.h"

namespace temper {
namespace {

class ChannelProtocolTest : public testing::Test {
 protected:
  void SetUp() override {
    if (world_.size() < 2) GTEST_SKIP() << "needs two ranks";
    config_.max_rows = 2;
    placement_ = {.teachers = {world_.size() - 1}, .students = {0}};
  }
  bool teaches() const { return world_.rank() == world_.size() - 1; }
  bool learns() const { return world_.rank() == 0; }

  void send(SoftTargetSender& sender, int64_t step) {
    sender.acquire(0, 2).values.copy_(job_logits(config_, step, 0, 2).flatten(0, 1));  // (2·S, V)
    sender.send(0, job_header(config_, step, 0, 2));
  }
  at::Tensor receive(SoftTargetReceiver& receiver, int64_t step) const {
    return receiver
        .targets({.step = step, .first_row = 0, .rows = 2}, job_tokens(step, 0, 2, config_.seq))
        .values;  // (2·S, V)
  }
  /// A message between the two that is not the channel's.
  void tell(int to) const { world_.send_async(at::ones({1}), to, 1).wait(); }          // (1)
  void hear(int from) const { world_.receive_async(at::zeros({1}), from, 1).wait(); }  // (1)

  /// The teacher sends `header` and the student, which expects step 3, must refuse it with a text
  /// that contains `part`.
  void expect_refused(const SoftTargetHeader& header, const std::string& part) {
    if (teaches()) {
      SoftTargetSender sender(world_, placement_, config_);
      sender.acquire(0, header.rows).values.zero_();  // (rows·S, V)
      sender.send(0, header);
      sender.finish();
    }
    if (learns()) {
      SoftTargetReceiver receiver(world_, placement_, config_,
                                  4);  // more are granted than will come
      try {
        receive(receiver, 3);
        ADD_FAILURE() << "accepted a message although " << part;
      } catch (const c10::Error& error) {
        const std::string text = plain_message(error);
        EXPECT_NE(text.find(part), std::string::npos) << text;
        EXPECT_NE(text.find("teacher rank " + std::to_string(world_.size() - 1)), std::string::npos)
            << text;
        EXPECT_NE(text.find("step 3"), std::string::npos) << text;
      }
    }
    world_.barrier();
    world_ = Communicator::world();  // away from what the refused stream left behind
  }

  Communicator world_ = Communicator::world();
  ChannelConfig config_{.seq = 3, .payload = {.vocab = 17}, .temperature = 2.0};
  Placement placement_;
};

TEST_F(ChannelProtocolTest, TeachersRunAheadByTheLookaheadAndNoFurther) {
  for (const int64_t lookahead : {0, 1, 3}) {
    constexpr int64_t kUnits = 8;
    constexpr double kStallSeconds = 0.1;
    config_.lookahead = lookahead;
    if (teaches()) {
      SoftTargetSender sender(world_, placement_, config_);
      for (int64_t unit = 0; unit < lookahead; ++unit) send(sender, unit);
      sender.take_wait_seconds();
      tell(
          0);  // the student asks for nothing before this: more credits than these cannot be needed
      // Then it stalls before its first logits(), which grants one more; and after that, which
      // grants the next one.
      send(sender, lookahead);
      EXPECT_GE(sender.take_wait_seconds(), 0.2 * kStallSeconds)
          << "began without a credit, lookahead " << lookahead;
      send(sender, lookahead + 1);
      EXPECT_GE(sender.take_wait_seconds(), 0.2 * kStallSeconds)
          << "began without a credit, lookahead " << lookahead;
      for (int64_t unit = lookahead + 2; unit < kUnits; ++unit) send(sender, unit);
      sender.finish();
    }
    if (learns()) {
      SoftTargetReceiver receiver(world_, placement_, config_, kUnits);
      hear(world_.size() - 1);
      for (int64_t unit = 0; unit < kUnits; ++unit) {
        if (unit < 2) usleep(static_cast<useconds_t>(kStallSeconds * 1e6));
        EXPECT_TRUE(receive(receiver, unit)
                        .equal(job_logits(config_, unit, 0, 2).view({-1, config_.payload.vocab})));
      }
    }
    world_.barrier();
  }
}

TEST_F(ChannelProtocolTest, RefusesAnotherTemperature) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.temperature = 4.0;
  expect_refused(header, "temperature is 2 here and 4 at the teacher");
}

TEST_F(ChannelProtocolTest, RefusesOtherTokens) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.token_hash ^= 1;
  expect_refused(header, "token_hash is");
}

TEST_F(ChannelProtocolTest, RefusesAnotherTokenizer) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.tokenizer = 17;
  expect_refused(header, "tokenizer is 0 here and 17 at the teacher");
}

TEST_F(ChannelProtocolTest, RefusesAShiftedBatch) {
  // The teacher's rows begin one token later than the student's.
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.token_hash = hash_tokens(job_tokens(3, 0, 2, config_.seq) + 1);
  expect_refused(header, "token_hash is");
}

TEST_F(ChannelProtocolTest, RefusesAnotherStep) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.step = 2;
  expect_refused(header, "step is 3 here and 2 at the teacher");
}

TEST_F(ChannelProtocolTest, RefusesOtherRows) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.rows = 1;
  expect_refused(header, "rows is 2 here and 1 at the teacher");
}

TEST_F(ChannelProtocolTest, TeacherRefusesBuffersOfAnotherSize) {
  if (teaches()) {
    config_.payload.vocab = 18;
    SoftTargetSender sender(world_, placement_, config_);
    try {
      sender.acquire(0, 2);
      ADD_FAILURE() << "accepted a student with another vocabulary";
    } catch (const c10::Error& error) {
      // 64 + 2 rows · 3 positions · 17 or 18 entries · 2 bytes
      const std::string text = plain_message(error);
      EXPECT_NE(text.find("buffers of 268 bytes and this teacher of 280"), std::string::npos)
          << text;
    }
  }
  if (learns()) const SoftTargetReceiver receiver(world_, placement_, config_, 1);
  world_.barrier();
}

TEST_F(ChannelProtocolTest, RefusesMisuse) {
  config_.lookahead = 1;
  if (teaches()) {
    EXPECT_THROW(SoftTargetReceiver(world_, placement_, config_, 1), c10::Error);
    SoftTargetSender sender(world_, placement_, config_);
    EXPECT_THROW(sender.acquire(1, 2), c10::Error);  // there is one student
    EXPECT_THROW(sender.acquire(0, 3), c10::Error);  // max_rows is 2
    EXPECT_THROW(sender.send(0, job_header(config_, 0, 0, 2)), c10::Error);
    sender.acquire(0, 2).values.copy_(job_logits(config_, 0, 0, 2).flatten(0, 1));  // (2·S, V)
    EXPECT_THROW(sender.acquire(0, 2), c10::Error);
    EXPECT_THROW(sender.finish(), c10::Error);
    sender.send(0, job_header(config_, 0, 0, 2));
    sender.finish();
  }
  if (learns()) {
    EXPECT_THROW(SoftTargetSender(world_, placement_, config_), c10::Error);
    SoftTargetReceiver receiver(world_, placement_, config_, 1);
    receive(receiver, 0);
    EXPECT_THROW(receive(receiver, 1), c10::Error);  // it has one unit
  }
  world_.barrier();
}

TEST_F(ChannelProtocolTest, UnwindingDoesNotHang) {
  if (learns()) {
    EXPECT_THROW(
        {
          const SoftTargetReceiver receiver(world_, placement_, config_, 100);
          throw std::runtime_error("the student fails while its teachers are silent");
        },
        std::runtime_error);
  }
  world_.barrier();
}

TEST_F(ChannelProtocolTest, RefusesANegativeLookahead) {
  config_.lookahead = -1;
  if (learns()) {
    EXPECT_THROW(SoftTargetReceiver(world_, placement_, config_, 1), c10::ValueError);
  }
}

}  // namespace
}  // namespace temper
