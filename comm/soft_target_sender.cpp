// A teacher's end of the soft-target channel.
#include <c10/util/Exception.h>

#include <algorithm>
#include <deque>
#include <map>
#include <utility>

#include "comm/activity.h"
#include "comm/mpi/backoff.h"
#include "comm/payload_views.h"
#include "comm/soft_target_channel.h"

// Note [No deadlock]
// ~~~~~~~~~~~~~~~~~~
// Teachers serve units in one global order, step by step, each those that are its own; students
// consume theirs in the same order and meet in a reduction at the end of each step. Nobody waits in
// a circle:
//
// Take the first unit u in that order that has not been sent; let it be of step s and student i's
// n-th. All units before it have been sent. Its teacher has none left before u, so it is at u:
// computing, or waiting in acquire() for one of
//   - the credit. All units of steps before s have been sent, to all students, so every reduction
//   before step s completes, and
//     student i can consume its units before n, whose messages are all under way. It then calls
//     targets() for n, if not earlier, and that grants n. Student i is not blocked on its way
//     there: grants never wait.
//   - a buffer. Shared memory needs none beside the granted one. Where the teacher has a ring of
//   its
//     own (messages, NCCL), unit u uses the buffer of the pair's unit R before it, R = ceil((D + 1)
//     / M). Since M teachers take turns at student i, that one is at least D + 1 units before n;
//     and n is granted only when unit n - D - 1 was released, hence received. So with the credit
//     here, that buffer's message has arrived, and its send completes when MPI says so.
// So u will be sent; the rest follows one by one. A student that is in a reduction or computes does
// not keep a message from leaving: its receive is posted, and whoever waits keeps MPI going. The
// argument needs that all students take part in the same reductions; they may have different
// numbers of micro-batches a step.
//
// A teacher may take further units into the forward pass of u, its own next ones in the order, but
// only those whose credit and buffer are here already (try_acquire()): then it computes and sends
// them all, which ends without anybody's help. So whoever waits in acquire() holds no unit that it
// has not sent, and "computing" above still ends. With D = 0 a credit comes when its student asks
// for that very unit, and a batch has at most one unit of each student. Reports (teacher_report.h)
// obey the same rule: the first student waits for those of step s before it goes on to s + 1, so
// they leave before the teacher waits for any unit of a later step.

namespace temper {
namespace {

/// The way to one student that this teacher serves.
struct Lane {
  struct Held {
    at::Tensor buffer;  // (bytes)
    int64_t rows = 0;
  };
  std::unique_ptr<TeacherLink> link;
  int64_t unit = 0;       // the student's unit that this teacher acquires next
  std::deque<Held> held;  // acquired, not sent
  PayloadViews views;
};

}  // namespace

struct SoftTargetSender::Impl {
  const Placement& placement;
  const ChannelConfig& config;
  int rank;
  std::map<int, Lane> lanes;  // by student index
  double wait_seconds = 0;

  explicit Impl(const SoftTargetTransports& transports)
      : placement(transports.placement()),
        config(transports.config()),
        rank(transports.world().rank()) {
    TORCH_CHECK(placement.is_teacher(rank), "SoftTargetSender is for a teacher rank");
    for (int student = 0; student < static_cast<int>(placement.students.size()); ++student) {
      if (!placement.serves(rank, student)) continue;
      Lane& lane = lanes[student];
      lane.link = transports.teacher_link(student);
      lane.unit = own_unit_from(student, 0);
    }
  }

  /// The first unit of a student, `unit` or later, that is this teacher's.
  int64_t own_unit_from(int student, int64_t unit) const {
    while (placement.teacher_of(student, unit) != rank) ++unit;
    return unit;
  }

  Lane& lane_of(int student) {
    const auto lane = lanes.find(student);
    TORCH_CHECK(lane != lanes.end(), "teacher rank ", rank, " serves no student of index ",
                student);
    return lane->second;
  }

  void check_rows(int64_t rows) const {
    TORCH_CHECK(rows > 0 && rows <= config.max_rows, "acquire() of ", rows,
                " rows in a channel of ", config.max_rows);
  }

  void check_nothing_held(const char* call) const {
    for (const auto& [student, lane] : lanes)
      TORCH_CHECK(lane.held.empty(), call, "() after acquire() without send()");
  }

  bool progress() {
    bool all = true;
    for (auto& [student, lane] : lanes) all = lane.link->progress() && all;
    return all;
  }

  PayloadView take(int student, int64_t rows) {
    Lane& lane = lane_of(student);
    lane.held.push_back({lane.link->acquire(lane.unit), rows});
    lane.unit = own_unit_from(student, lane.unit + 1);
    PayloadView view = lane.views.of(lane.held.back().buffer, config, rows);
    view.shared = lane.link->shares_memory();
    return view;
  }
};

SoftTargetSender::SoftTargetSender(const SoftTargetTransports& transports)
    : impl_(std::make_unique<Impl>(transports)) {}

SoftTargetSender::~SoftTargetSender() = default;  // links wait for what has not left

bool SoftTargetSender::await(int student) {
  Lane& lane = impl_->lane_of(student);
  impl_->check_nothing_held("await");
  // Before the first one a student may have a whole stage of its own.
  const Waiting waiting(
      lane.unit == impl_->own_unit_from(student, 0) ? Operation::kFirstCredit : Operation::kCredit,
      impl_->placement.students[static_cast<size_t>(student)]);
  const Backoff backoff;
  while (!lane.link->ready(lane.unit) && !lane.link->ended()) {
    impl_->progress();
    backoff.pause();
  }
  impl_->wait_seconds += backoff.seconds();
  return !lane.link->ended();
}

PayloadView SoftTargetSender::acquire(int student, int64_t rows) {
  impl_->check_rows(rows);
  TORCH_CHECK(await(student), "acquire() after student ", student, " has ended the stream");
  return impl_->take(student, rows);
}

std::optional<PayloadView> SoftTargetSender::try_acquire(int student, int64_t rows) {
  Lane& lane = impl_->lane_of(student);
  impl_->check_rows(rows);
  if (!lane.link->ready(lane.unit)) return std::nullopt;
  return impl_->take(student, rows);
}

void SoftTargetSender::send(int student, const SoftTargetHeader& header) {
  Lane& lane = impl_->lane_of(student);
  TORCH_CHECK(!lane.held.empty(), "send() without acquire() for student ", student);
  TORCH_CHECK(int64_t{header.rows} == lane.held.front().rows, "send() of ", header.rows,
              " rows after acquire() of ", lane.held.front().rows);
  lane.held.pop_front();
  lane.link->publish(header, message_bytes(impl_->config, header.rows));
}

void SoftTargetSender::progress() { impl_->progress(); }

void SoftTargetSender::finish() {
  impl_->check_nothing_held("finish");
  const Waiting waiting(Operation::kLastSends);
  const Backoff backoff;
  while (!impl_->progress()) backoff.pause();
}

double SoftTargetSender::take_wait_seconds() { return std::exchange(impl_->wait_seconds, 0.0); }

}  // namespace temper
