// A teacher's end of the soft-target channel.
#include <c10/util/Exception.h>

#include <algorithm>
#include <utility>

#include "comm/channel_wire.h"
#include "comm/mpi/backoff.h"

// Note [No deadlock]
// ~~~~~~~~~~~~~~~~~~
// Teachers serve units in the global order (step, student, micro-batch), each those that are its
// own; students consume theirs in the same order and meet in a reduction at the end of each step.
// Nobody waits in a circle:
//
// Take the first unit u = (s, i, j) in that order that has not been sent, and let it be student i's
// n-th. All units before it have been sent. Its teacher has none left before u, so it is at u:
// computing, or waiting in acquire() for one of
//   - the credit. All units of steps before s have been sent, to all students, so every reduction
//   before step s completes, and
//     student i can consume its units before n, whose messages are all under way. It then calls
//     targets() for n, if not earlier, and that grants n. Student i is not blocked on its way
//     there: sends of credits never wait.
//   - a buffer of the ring. Unit u uses the buffer of the pair's unit R before it, R = ceil((D + 1)
//   / M). Since M teachers take
//     turns, that one is at least D + 1 units of the student before n; and n is granted only when
//     unit n - D - 1 was released, hence received. So with the credit here, that buffer's message
//     has arrived, and its send completes when MPI says so.
// So u will be sent; the rest follows one by one. A student that is in a reduction or computes does
// not keep a message from leaving: its receive is posted, and whoever waits keeps MPI going. The
// argument needs that all students take part in the same reductions; they may have different
// numbers of micro-batches a step.

namespace temper {
namespace {

/// The buffers towards one student.
struct Lane {
  int student_rank = 0;
  int64_t unit = 0;                 // the student's unit that this teacher serves next
  std::vector<at::Tensor> buffers;  // R of (bytes)
  std::vector<Request> sends;       // of each buffer
  size_t at = 0;                    // buffer of the next unit
  int64_t acquired_rows = 0;        // 0: no acquire() without its send()
};

}  // namespace

struct SoftTargetSender::Impl {
  const Communicator& world;
  Placement placement;
  ChannelConfig config;
  std::vector<Lane> lanes;  // by student index
  double wait_seconds = 0;

  Impl(const Communicator& comm, Placement roles, ChannelConfig channel)
      : world(comm), placement(std::move(roles)), config(channel) {
    TORCH_CHECK(placement.is_teacher(comm.rank()), "SoftTargetSender is for a teacher rank");
    validate(config);
    const auto teachers = static_cast<int64_t>(placement.teachers.size());
    const int64_t ring = (config.lookahead + teachers) / teachers;  // ceil((D + 1) / M)
    for (const int student_rank : placement.students) {
      Lane lane;
      lane.student_rank = student_rank;
      for (int64_t i = 0; i < ring; ++i) lane.buffers.push_back(make_buffer(config));  // (bytes)
      lane.sends.resize(static_cast<size_t>(ring));
      lane.unit = own_unit_from(static_cast<int>(lanes.size()), 0);
      lanes.push_back(std::move(lane));
    }
  }

  /// The first unit of a student, `unit` or later, that is this teacher's.
  int64_t own_unit_from(int student, int64_t unit) const {
    while (placement.teacher_of(student, unit) != world.rank()) ++unit;
    return unit;
  }

  Lane& lane_of(int student) {
    TORCH_CHECK(student >= 0 && static_cast<size_t>(student) < lanes.size(), "no student of index ",
                student);
    return lanes[static_cast<size_t>(student)];
  }

  void progress() {
    for (Lane& lane : lanes) {
      for (Request& send : lane.sends) send.test();
    }
  }

  void wait_for(Request& request) {
    const Backoff backoff;
    while (!request.test()) {
      progress();
      backoff.pause();
    }
    wait_seconds += backoff.seconds();
  }

  void take_credit(const Lane& lane) {
    at::Tensor credit = at::empty({2}, at::kLong);  // (2)
    Request request = world.receive_async(credit, lane.student_rank, kCreditTag);
    wait_for(request);
    const int64_t unit = credit.const_data_ptr<int64_t>()[0];
    const int64_t bytes = credit.const_data_ptr<int64_t>()[1];
    const int64_t ours = message_bytes(config, config.max_rows);
    TORCH_CHECK(bytes == ours, "student rank ", lane.student_rank, " has soft-target buffers of ",
                bytes, " bytes and this teacher of ", ours,
                "; start both sides with the same options (micro-batch, sequence length, "
                "vocabulary, payload, precision)");
    TORCH_CHECK(unit == lane.unit, "student rank ", lane.student_rank, " granted its micro-batch ",
                unit, " and this teacher is at ", lane.unit,
                "; both sides must count micro-batches alike");
  }
};

SoftTargetSender::SoftTargetSender(const Communicator& world, const Placement& placement,
                                   ChannelConfig config)
    : impl_(std::make_unique<Impl>(world, placement, config)) {}

SoftTargetSender::~SoftTargetSender() = default;  // Request waits for what has not left

PayloadView SoftTargetSender::acquire(int student, int64_t rows) {
  Lane& lane = impl_->lane_of(student);
  TORCH_CHECK(lane.acquired_rows == 0, "acquire() twice for student ", student, " without send()");
  TORCH_CHECK(rows > 0 && rows <= impl_->config.max_rows, "acquire() of ", rows,
              " rows in a channel of ", impl_->config.max_rows);
  impl_->take_credit(lane);
  impl_->wait_for(lane.sends[lane.at]);
  lane.acquired_rows = rows;
  return payload_in(lane.buffers[lane.at], impl_->config, rows);
}

void SoftTargetSender::send(int student, const SoftTargetHeader& header) {
  Lane& lane = impl_->lane_of(student);
  TORCH_CHECK(lane.acquired_rows != 0, "send() without acquire() for student ", student);
  TORCH_CHECK(int64_t{header.rows} == lane.acquired_rows, "send() of ", header.rows,
              " rows after acquire() of ", lane.acquired_rows);
  const at::Tensor& buffer = lane.buffers[lane.at];
  write_header(buffer, header);
  lane.sends[lane.at] = impl_->world.send_part_async(
      buffer, message_bytes(impl_->config, header.rows), lane.student_rank, kSoftTargetTag);
  lane.at = (lane.at + 1) % lane.sends.size();
  lane.unit = impl_->own_unit_from(student, lane.unit + 1);
  lane.acquired_rows = 0;
}

void SoftTargetSender::progress() { impl_->progress(); }

void SoftTargetSender::finish() {
  for (Lane& lane : impl_->lanes) {
    TORCH_CHECK(lane.acquired_rows == 0, "finish() after acquire() without send()");
    for (Request& send : lane.sends) send.wait();
  }
}

double SoftTargetSender::take_wait_seconds() { return std::exchange(impl_->wait_seconds, 0.0); }

}  // namespace temper
