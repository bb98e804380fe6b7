// The stream for every shape of job: M teachers to N students, all lookaheads, uneven shares, slow
// ends, random timing, large messages in pieces.
#include <gtest/gtest.h>

#include <random>

#include "channel_job.h"
#include "comm/channel_wire.h"

namespace temper {
namespace {

enum class Carrier { kMessages, kShared, kMixed };

const char* carrier_name(Carrier carrier) {
  return carrier == Carrier::kMessages ? "Messages"
         : carrier == Carrier::kShared ? "Shared"
                                       : "Mixed";
}

struct Shape {
  int teachers;
  int students;
  Carrier carrier = Carrier::kMessages;
};

/// kMixed makes even and odd ranks pretend to be two nodes: a student has teachers of both kinds,
/// or a teacher such students.
TransportOptions options_of(Carrier carrier, int ranks) {
  TransportOptions options;
  options.wish = carrier == Carrier::kMessages ? Transport::kMessages
                 : carrier == Carrier::kShared ? Transport::kShared
                                               : Transport::kAuto;
  for (int rank = 0; carrier == Carrier::kMixed && rank < ranks; ++rank)
    options.node_of_rank.push_back(rank % 2);
  return options;
}

std::vector<Shape> shapes() {
  std::vector<Shape> all;
  for (const Carrier carrier : {Carrier::kMessages, Carrier::kShared, Carrier::kMixed}) {
    for (const auto& [teachers, students] : std::initializer_list<std::pair<int, int>>{
             {1, 1}, {1, 2}, {2, 1}, {1, 3}, {2, 2}, {3, 1}}) {
      if (carrier != Carrier::kMixed || teachers + students > 2)
        all.push_back({teachers, students, carrier});
    }
  }
  return all;
}

ChannelJob job_of(Shape shape, int ranks) {
  ChannelJob job;
  for (int i = 0; i < shape.students; ++i) {
    job.students.push_back(i);
    job.rows_of_student.push_back(
        3 + 2 * i);  // 3, 5, 7 rows: 2, 3, 4 micro-batches, each with a short last one
  }
  for (int i = 0; i < shape.teachers; ++i) job.teachers.push_back(shape.students + i);
  job.transport = options_of(shape.carrier, ranks);
  return job;
}

/// Units of all students.
int64_t units_of(const ChannelJob& job) {
  int64_t units = 0;
  for (const int64_t rows : job.rows_of_student)
    units += (rows + job.micro_batch - 1) / job.micro_batch;
  return units * job.steps;
}

class ChannelStreamTest : public testing::TestWithParam<Shape> {
 protected:
  void SetUp() override {
    if (GetParam().teachers + GetParam().students > world_.size())
      GTEST_SKIP() << "needs more ranks";
  }
  Communicator world_ = Communicator::world();
};

TEST_P(ChannelStreamTest, EveryLookaheadDeliversEverything) {
  for (const int64_t lookahead : {0, 1, 2, 5}) {
    for (const at::ScalarType type : {at::kBFloat16, at::kFloat}) {
      ChannelJob job = job_of(GetParam(), world_.size());
      job.config.lookahead = lookahead;
      job.config.payload.dtype = type;
      const ChannelJobResult result = run_job(world_, job);
      // Each unit is served once and consumed once.
      EXPECT_EQ(world_.all_reduce(result.units), 2 * units_of(job));
      // Only the rows' own bytes travel, and one header a unit.
      int64_t rows = 0;
      for (const int64_t of_student : job.rows_of_student) rows += of_student * job.steps;
      EXPECT_EQ(world_.all_reduce(result.bytes),
                units_of(job) * 64 + rows * 3 * 17 * static_cast<int64_t>(c10::elementSize(type)));
    }
  }
}

TEST_P(ChannelStreamTest, PiecesGiveTheSame) {
  world_.set_piece_bytes(
      100);  // a message of one row of bf16 is 64 + 102 bytes, of two rows 268: 3 pieces
  for (const int64_t lookahead : {0, 3}) {
    ChannelJob job = job_of(GetParam(), world_.size());
    job.config.lookahead = lookahead;
    EXPECT_EQ(world_.all_reduce(run_job(world_, job).units), 2 * units_of(job));
  }
}

TEST_P(ChannelStreamTest, LargeMessages) {
  ChannelJob job = job_of(GetParam(), world_.size());
  job.steps = 2;
  job.config.seq = 64;
  job.config.payload.vocab = 4096;  // 2 rows: 1 MB, far beyond what MPI sends without the receiver
  EXPECT_EQ(world_.all_reduce(run_job(world_, job).units), 2 * units_of(job));
}

TEST_P(ChannelStreamTest, TeachersMayTakeSeveralMicroBatchesAtOnce) {
  for (const int64_t lookahead : {0, 1, 4}) {
    for (const int64_t batch : {2, 5}) {
      ChannelJob job = job_of(GetParam(), world_.size());
      job.config.lookahead = lookahead;
      job.teacher_batch = batch;
      job.student_delay_us = lookahead == 4 ? 500 : 0;
      const ChannelJobResult result = run_job(world_, job);
      EXPECT_EQ(world_.all_reduce(result.units), 2 * units_of(job));
      const int64_t most = world_.all_reduce(result.most_at_once, Reduce::kMax);
      EXPECT_LE(most, batch);
      // Students are the slow ones, so their credits are there, at least two of each pair.
      if (lookahead == 4 && GetParam().teachers == 1) {
        EXPECT_GE(most, 2);
      }
      // With lock-step, a student asks for one at a time.
      if (lookahead == 0) {
        EXPECT_LE(most, GetParam().students);
      }
    }
  }
}

TEST_P(ChannelStreamTest, FillSaysWhoIsAhead) {
  if (GetParam().teachers != 1 || GetParam().students != 1) GTEST_SKIP() << "one pair shows it";
  for (const int64_t lookahead : {0, 2}) {
    ChannelJob job = job_of(GetParam(), world_.size());
    job.steps = 8;  // 16 micro-batches
    job.config.lookahead = lookahead;
    job.student_delay_us = 20000;  // more than a loaded machine takes to turn to the other side
    const LookaheadFill slow_student = run_job(world_, job).fill;
    std::swap(job.teacher_delay_us, job.student_delay_us);
    const LookaheadFill slow_teacher = run_job(world_, job).fill;
    if (world_.rank() != job.students.front()) continue;
    // Granted ahead: D for each micro-batch but the last ones.
    const double granted = lookahead == 0 ? 0 : 2 * 14 + 2 + 1;
    EXPECT_EQ(slow_student.granted, granted);
    EXPECT_EQ(slow_teacher.granted, granted);
    if (lookahead == 0) continue;
    EXPECT_GE(slow_student.arrived, 0.6 * granted);
    EXPECT_LE(slow_teacher.arrived, 0.4 * granted);
  }
}

TEST_P(ChannelStreamTest, SlowEnds) {
  for (const int64_t lookahead : {0, 2}) {
    ChannelJob job = job_of(GetParam(), world_.size());
    job.steps = 2;
    job.config.lookahead = lookahead;
    job.teacher_delay_us = 5000;
    const ChannelJobResult slow_teachers = run_job(world_, job);
    std::swap(job.teacher_delay_us, job.student_delay_us);
    const ChannelJobResult slow_students = run_job(world_, job);
    // Who is fast waits for who is slow: each student's units took its teachers at least 5 ms each,
    // which it could not overlap. A loaded machine blurs that: one is asked for.
    if (world_.rank() == job.students.back() && GetParam().teachers == 1) {
      EXPECT_GE(slow_teachers.wait_seconds, 0.001 * static_cast<double>(slow_teachers.units));
    }
    if (world_.rank() == job.teachers.front() && GetParam().students == 1 &&
        GetParam().teachers == 1) {
      EXPECT_GE(slow_students.wait_seconds,
                0.001 * static_cast<double>(slow_students.units - lookahead - 1));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, ChannelStreamTest, testing::ValuesIn(shapes()),
                         [](const auto& test) {
                           return std::to_string(test.param.teachers) + "x" +
                                  std::to_string(test.param.students) +
                                  carrier_name(test.param.carrier);
                         });

TEST(ChannelStressTest, RandomJobs) {
  Communicator world = Communicator::world();
  if (world.size() < 2) GTEST_SKIP() << "needs two ranks";
  std::mt19937_64 random(20240607);  // the same on every rank
  const auto draw = [&](int64_t low, int64_t high) {
    return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
  };
  for (int round = 0; round < 40; ++round) {
    ChannelJob job;
    std::vector<int> ranks(static_cast<size_t>(world.size()));
    for (size_t i = 0; i < ranks.size(); ++i) ranks[i] = static_cast<int>(i);
    std::shuffle(ranks.begin(), ranks.end(), random);
    const auto students = static_cast<size_t>(draw(1, world.size() - 1));
    const auto teachers =
        static_cast<size_t>(draw(1, world.size() - static_cast<int64_t>(students)));
    job.students.assign(ranks.begin(), ranks.begin() + static_cast<int64_t>(students));
    job.teachers.assign(ranks.end() - static_cast<int64_t>(teachers), ranks.end());
    std::sort(job.students.begin(), job.students.end());
    for (size_t i = 0; i < students; ++i) job.rows_of_student.push_back(draw(i == 0 ? 1 : 0, 6));
    if (draw(0, 1) == 0) {
      for (size_t i = 0; i < students; ++i) {  // some of the teachers, in any order
        std::vector<int> own = job.teachers;
        std::shuffle(own.begin(), own.end(), random);
        own.resize(static_cast<size_t>(draw(1, static_cast<int64_t>(teachers))));
        job.turns.push_back(own);
      }
    }
    job.steps = draw(1, 6);
    job.micro_batch = draw(1, 4);
    job.config.seq = draw(1, 8);
    job.config.payload.vocab = draw(1, 500);
    job.config.lookahead = draw(0, 6);
    job.config.payload.dtype = draw(0, 1) == 0 ? at::kFloat : at::kBFloat16;
    job.teacher_delay_us = draw(0, 1) * draw(0, 3000);
    job.student_delay_us = draw(0, 1) * draw(0, 3000);
    job.teacher_batch = draw(1, 4);
    job.transport.wish = draw(0, 2) == 0 ? Transport::kMessages : Transport::kAuto;
    for (int rank = 0; rank < world.size(); ++rank)
      job.transport.node_of_rank.push_back(static_cast<int>(draw(0, 1)));
    job.random_delays = 1 + static_cast<uint64_t>(round);
    world.set_piece_bytes(draw(0, 1) == 0 ? draw(8, 2000) : Communicator::kMaxPieceBytes);
    SCOPED_TRACE("round " + std::to_string(round));
    EXPECT_EQ(world.all_reduce(run_job(world, job).units), 2 * units_of(job));
  }
}

}  // namespace
}  // namespace temper
