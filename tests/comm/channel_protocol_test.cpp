// What the channel promises beside delivery: how far teachers run ahead, and what is refused. One
// teacher (the last rank), one student (rank 0); other ranks look on.
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "channel_job.h"
#include "comm/agree.h"

namespace temper {
namespace {

class ChannelProtocolTest : public testing::TestWithParam<Transport> {
 protected:
  void SetUp() override {
    if (world_.size() < 2) GTEST_SKIP() << "needs two ranks";
    config_.max_rows = 2;
    placement_ = {.teachers = {world_.size() - 1}, .students = {0}};
    options_.wish = GetParam();
  }
  /// What a test leaves behind has arrived before its communicator goes: Open MPI may give the next
  /// one the same number.
  void TearDown() override { world_.barrier(); }
  SoftTargetTransports transports() const {
    return SoftTargetTransports(world_, placement_, config_, options_);
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
    expect_refused_through(transports(), header, part);
    world_.barrier();
    world_ = Communicator::world();  // away from what the refused stream left behind
  }

  void expect_refused_through(const SoftTargetTransports& transports,
                              const SoftTargetHeader& header, const std::string& part) {
    if (teaches()) {
      SoftTargetSender sender(transports);
      sender.acquire(0, header.rows).values.zero_();  // (rows·S, V)
      sender.send(0, header);
      sender.finish();
    }
    if (learns()) {
      SoftTargetReceiver receiver(transports, 4);  // more are granted than will come
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
  }

  Communicator world_ = Communicator::world();
  ChannelConfig config_{.seq = 3, .payload = {.vocab = 17}, .temperature = 2.0};
  Placement placement_;
  TransportOptions options_;
};

TEST_P(ChannelProtocolTest, TeachersRunAheadByTheLookaheadAndNoFurther) {
  for (const int64_t lookahead : {0, 1, 3}) {
    constexpr int64_t kUnits = 8;
    constexpr double kStallSeconds = 0.1;
    config_.lookahead = lookahead;
    const SoftTargetTransports transports = this->transports();
    if (teaches()) {
      SoftTargetSender sender(transports);
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
      SoftTargetReceiver receiver(transports, kUnits);
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

TEST_P(ChannelProtocolTest, RefusesAnotherTemperature) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.temperature = 4.0;
  expect_refused(header, "temperature is 2 here and 4 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesOtherTokens) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.token_hash ^= 1;
  expect_refused(header, "token_hash is");
}

TEST_P(ChannelProtocolTest, RefusesAnotherTokenizer) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.tokenizer = 17;
  expect_refused(header, "tokenizer is 0 here and 17 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesABatchShiftedByAToken) {
  // The teacher's rows begin one token later than the student's.
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.token_hash = hash_tokens(job_tokens(3, 0, 2, config_.seq) + 1);
  expect_refused(header, "token_hash is");
}

TEST_P(ChannelProtocolTest, RefusesAnotherStep) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.step = 2;
  expect_refused(header, "step is 3 here and 2 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesOtherRows) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.rows = 1;
  expect_refused(header, "rows is 2 here and 1 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesABatchShiftedByRows) {
  SoftTargetHeader header = job_header(config_, 3, 2, 2);
  expect_refused(header, "first_row is 0 here and 2 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesAnotherPayload) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.payload = Payload::kHidden;
  expect_refused(header, "payload is full here and hidden at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesAnotherVocabulary) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.vocab = 18;
  expect_refused(header, "vocab is 17 here and 18 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesAnotherSequenceLength) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.seq = 4;
  expect_refused(header, "seq is 3 here and 4 at the teacher");
}

TEST_P(ChannelProtocolTest, RefusesWhatIsNoHeader) {
  SoftTargetHeader header = job_header(config_, 3, 0, 2);
  header.magic = 0;
  expect_refused(header, "magic is");
}

TEST_P(ChannelProtocolTest, TeacherRefusesBuffersOfAnotherSize) {
  if (teaches()) config_.payload.vocab = 18;
  const SoftTargetTransports transports = this->transports();
  if (teaches()) {
    SoftTargetSender sender(transports);
    try {
      sender.acquire(0, 2);
      ADD_FAILURE() << "accepted a student with another vocabulary";
    } catch (const c10::Error& error) {
      // 64 + 2 rows · 3 positions · 17 or 18 entries · 2 bytes
      const std::string text = plain_message(error);
      EXPECT_NE(text.find("buffers of 268 bytes and this teacher of 280"), std::string::npos)
          << text;
    }
    tell(0);
  }
  if (learns()) {
    const SoftTargetReceiver receiver(transports, 1);
    hear(world_.size() - 1);
  }
}

TEST_P(ChannelProtocolTest, TeacherRefusesACreditForAnotherMicroBatch) {
  config_.lookahead = 1;
  const SoftTargetTransports transports = this->transports();
  if (teaches()) {
    SoftTargetSender sender(transports);
    send(sender, 0);
    try {
      sender.acquire(0, 2);
      ADD_FAILURE() << "accepted a student that counts anew";
    } catch (const c10::Error& error) {
      const std::string text = plain_message(error);
      EXPECT_NE(text.find("granted its micro-batch 0 and this teacher is at 1"), std::string::npos)
          << text;
    }
    tell(0);
  }
  if (learns()) {
    SoftTargetReceiver first(transports, 1);
    receive(first, 0);
    const SoftTargetReceiver second(transports, 1);
    hear(world_.size() - 1);
  }
}

TEST_P(ChannelProtocolTest, TheNextStreamGoesThroughTheSameTransports) {
  config_.lookahead = 2;
  const SoftTargetTransports transports = this->transports();
  for (int64_t stream = 0; stream < 3; ++stream) {
    if (teaches()) {
      SoftTargetSender sender(transports);
      for (int64_t unit = 0; unit < 4; ++unit) send(sender, 10 * stream + unit);
      sender.finish();
    }
    if (learns()) {
      SoftTargetReceiver receiver(transports, 4);
      for (int64_t unit = 0; unit < 4; ++unit) {
        EXPECT_TRUE(receive(receiver, 10 * stream + unit)
                        .equal(job_logits(config_, 10 * stream + unit, 0, 2)
                                   .view({-1, config_.payload.vocab})));
      }
    }
  }
}

TEST_P(ChannelProtocolTest, FillCountsWhatHasCome) {
  config_.lookahead = 3;
  const SoftTargetTransports transports = this->transports();
  if (teaches()) {
    SoftTargetSender sender(transports);
    send(sender, 0);
    send(sender, 1);
    tell(0);  // after both
    for (int64_t unit = 2; unit < 4; ++unit) send(sender, unit);
    tell(0);
    sender.finish();
  }
  if (learns()) {
    SoftTargetReceiver receiver(transports, 4);
    EXPECT_EQ(receiver.take_fill().granted, 0);
    hear(world_.size() - 1);
    // The third may have come, too; the fourth has no credit.
    receive(receiver, 0);
    const LookaheadFill first = receiver.take_fill();
    EXPECT_EQ(first.granted, 3);
    EXPECT_GE(first.arrived, 2);
    EXPECT_LE(first.arrived, 3);
    hear(world_.size() - 1);
    receive(receiver, 1);  // of 1, 2 and 3 all have come
    const LookaheadFill second = receiver.take_fill();
    EXPECT_EQ(second.granted, 3);
    EXPECT_EQ(second.arrived, 3);
    receive(receiver, 2);
    receive(receiver, 3);
    EXPECT_EQ(receiver.take_fill().granted, 2 + 1);  // no more than there are
    EXPECT_EQ(receiver.take_fill().granted, 0);
  }
}

TEST_P(ChannelProtocolTest, SeveralMicroBatchesAreTakenOnlyWithCredits) {
  config_.lookahead = 2;
  const SoftTargetTransports transports = this->transports();
  if (teaches()) {
    SoftTargetSender sender(transports);
    hear(0);                                                       // both credits have left
    std::vector<at::Tensor> held = {sender.acquire(0, 2).values};  // (2·S, V)
    const auto second = sender.try_acquire(0, 2);
    ASSERT_TRUE(second.has_value());
    held.push_back(second->values);  // (2·S, V)
    EXPECT_FALSE(sender.try_acquire(0, 2).has_value()) << "there is no third credit";
    EXPECT_THROW(sender.acquire(0, 2), c10::Error) << "would wait while it holds two";
    tell(0);
    for (int64_t unit = 0; unit < 2; ++unit)
      held[static_cast<size_t>(unit)].copy_(job_logits(config_, unit, 0, 2).flatten(0, 1));
    for (int64_t unit = 0; unit < 2; ++unit) sender.send(0, job_header(config_, unit, 0, 2));
    send(sender, 2);
    sender.finish();
  }
  if (learns()) {
    SoftTargetReceiver receiver(transports, 3);
    tell(world_.size() - 1);
    hear(world_.size() - 1);  // before the first targets(), which grants one more
    for (int64_t unit = 0; unit < 3; ++unit) {
      EXPECT_TRUE(receive(receiver, unit)
                      .equal(job_logits(config_, unit, 0, 2).view({-1, config_.payload.vocab})));
    }
  }
}

TEST_P(ChannelProtocolTest, AStudentEndsTheStreamAfterWhatItHasGranted) {
  config_.lookahead = 2;
  const SoftTargetTransports transports = this->transports();
  if (teaches()) {
    SoftTargetSender sender(transports);
    int64_t sent = 0;
    for (; sender.await(0); ++sent) send(sender, sent);
    EXPECT_EQ(sent, 4);
    EXPECT_FALSE(sender.await(0)) << "the end lasts";
    EXPECT_FALSE(sender.try_acquire(0, 2).has_value());
    EXPECT_THROW(sender.acquire(0, 2), c10::Error);
    sender.finish();
  }
  if (learns()) {
    SoftTargetReceiver receiver(transports, 8);
    for (int64_t unit = 0; unit < 4; ++unit) {
      if (unit == 2) {  // the second targets() granted up to unit 3
        EXPECT_THROW(receiver.end_after(3), c10::Error);
        receiver.end_after(4);
        EXPECT_THROW(receiver.end(), c10::Error) << "two units are still to come";
      }
      EXPECT_TRUE(receive(receiver, unit)
                      .equal(job_logits(config_, unit, 0, 2).view({-1, config_.payload.vocab})));
    }
    EXPECT_THROW(receive(receiver, 4), c10::Error);
    receiver.end();
  }
}

TEST_P(ChannelProtocolTest, RefusesMisuse) {
  config_.lookahead = 1;
  const SoftTargetTransports transports = this->transports();
  if (teaches()) {
    EXPECT_THROW(SoftTargetReceiver(transports, 1), c10::Error);
    SoftTargetSender sender(transports);
    EXPECT_THROW(sender.acquire(1, 2), c10::Error);  // there is one student
    EXPECT_THROW(sender.acquire(0, 3), c10::Error);  // max_rows is 2
    EXPECT_THROW(sender.send(0, job_header(config_, 0, 0, 2)), c10::Error);
    sender.acquire(0, 2).values.copy_(job_logits(config_, 0, 0, 2).flatten(0, 1));  // (2·S, V)
    EXPECT_THROW(sender.acquire(0, 2), c10::Error);
    EXPECT_THROW(sender.finish(), c10::Error);
    EXPECT_THROW(sender.send(0, job_header(config_, 0, 0, 1)), c10::Error);  // 2 were acquired
    sender.send(0, job_header(config_, 0, 0, 2));
    sender.finish();
  }
  if (learns()) {
    EXPECT_THROW(SoftTargetSender{transports}, c10::Error);
    SoftTargetReceiver receiver(transports, 1);
    receive(receiver, 0);
    EXPECT_THROW(receive(receiver, 1), c10::Error);  // it has one unit
  }
}

TEST_P(ChannelProtocolTest, UnwindingDoesNotHang) {
  const SoftTargetTransports transports = this->transports();
  if (learns()) {
    EXPECT_THROW(
        {
          const SoftTargetReceiver receiver(transports, 100);
          throw std::runtime_error("the student fails while its teachers are silent");
        },
        std::runtime_error);
  }
}

TEST_P(ChannelProtocolTest, RefusesANegativeLookahead) {
  config_.lookahead = -1;
  EXPECT_THROW(transports(), c10::ValueError);
}

INSTANTIATE_TEST_SUITE_P(Transports, ChannelProtocolTest,
                         testing::Values(Transport::kMessages, Transport::kShared),
                         [](const auto& test) { return transport_name(test.param); });

}  // namespace
}  // namespace temper
