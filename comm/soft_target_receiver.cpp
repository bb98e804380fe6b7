// The student's end of the soft-target channel.
#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "comm/channel_wire.h"
#include "comm/mpi/backoff.h"
#include "comm/value_coding.h"

// Note [Credits]
// ~~~~~~~~~~~~~~
// The student owns D + 1 buffers (D: lookahead); unit n lives in buffer n mod (D + 1). When
// targets() is called for unit n, unit n - 1 is released, and every unit up to n + D that has no
// credit yet gets its receive posted and then its credit sent. So while the student works on unit
// n, the D units after it are granted; buffers suffice, since n .. n + D are D + 1 units. With D =
// 0 the only grant is for n itself, when it is asked for. The constructor acts as if unit -1 were
// at work: it grants 0 .. D - 1. A receive is posted before its credit leaves, so no message comes
// unexpected and none is copied twice. Grants go out in unit order; those of one teacher therefore
// match its messages in order, and one tag is enough.

namespace temper {

struct SoftTargetReceiver::Impl {
  const Communicator& world;
  Placement placement;
  ChannelConfig config;
  int64_t units;
  at::Tensor head;                  // (V, C), for the payload hidden
  int student;                      // this rank's index among the students
  std::vector<at::Tensor> buffers;  // D + 1 of (bytes)
  std::deque<Request> receives;     // of units next .. granted - 1
  std::deque<Request> credits;      // under way
  int64_t next = 0;                 // the unit of the next targets()
  int64_t granted = 0;
  double wait_seconds = 0;
  int64_t bytes = 0;

  Impl(const Communicator& comm, Placement roles, ChannelConfig channel, int64_t unit_count,
       at::Tensor teacher_head)
      : world(comm),
        placement(std::move(roles)),
        config(channel),
        units(unit_count),
        head(std::move(teacher_head)),
        student(placement.role_index(comm.rank())) {
    TORCH_CHECK(!placement.colocated() && !placement.is_teacher(comm.rank()),
                "SoftTargetReceiver is for a student rank with teacher ranks");
    validate(config);
    const int64_t count = std::min(config.lookahead + 1, std::max<int64_t>(units, 1));
    for (int64_t i = 0; i < count; ++i) buffers.push_back(make_buffer(config));  // (bytes)
    grant_through(config.lookahead - 1);
  }

  const at::Tensor& buffer_of(int64_t unit) const {
    return buffers[static_cast<size_t>(unit % static_cast<int64_t>(buffers.size()))];
  }

  void grant_through(int64_t last_unit) {
    for (; granted <= last_unit && granted < units; ++granted) {
      const at::Tensor& buffer = buffer_of(granted);
      const int teacher = placement.teacher_of(student, granted);
      receives.push_back(world.receive_part_async(buffer, teacher, kSoftTargetTag));
      credits.push_back(world.send_async(
          make_credit(granted, static_cast<int64_t>(buffer.nbytes())), teacher, kCreditTag));
    }
  }

  void progress() {
    while (!credits.empty() && credits.front().test()) credits.pop_front();
    if (!receives.empty()) receives.front().test();
  }

  void abandon() noexcept {
    for (Request& receive : receives) receive.abandon();
    for (Request& credit : credits) credit.abandon();
  }

  SoftTargets targets(const MicroBatchId& id, const at::Tensor& tokens);
};

SoftTargets SoftTargetReceiver::Impl::targets(const MicroBatchId& id, const at::Tensor& tokens) {
  TORCH_CHECK(next < units, "a student asked for more than the ", units,
              " micro-batches of its channel");
  TORCH_CHECK(tokens.dim() == 2 && tokens.size(0) == id.rows && tokens.size(1) == config.seq &&
                  id.rows <= config.max_rows,
              "a micro-batch of ", id.rows, " rows with tokens ", tokens.sizes(),
              " in a channel of ", config.max_rows, " rows of ", config.seq);
  const SoftTargetHeader expected = make_header(config, id, tokens);

  const int64_t unit = next++;
  grant_through(unit + config.lookahead);
  const Backoff backoff;
  while (!receives.front().test()) {
    progress();
    backoff.pause();
  }
  wait_seconds += backoff.seconds();
  progress();

  const Request received = std::move(receives.front());
  receives.pop_front();
  const int teacher = placement.teacher_of(student, unit);
  TORCH_CHECK(received.bytes() >= kHeaderBytes, "soft targets from teacher rank ", teacher, " of ",
              received.bytes(), " bytes have no header");
  check_header(expected, read_header(received.buffer()), teacher);
  TORCH_CHECK(received.bytes() == message_bytes(config, id.rows), "soft targets from teacher rank ",
              teacher, " for step ", id.step, ", first_row ", id.first_row, ": ", received.bytes(),
              " bytes came where ", message_bytes(config, id.rows), " are right for ",
              value_type_name(config.payload.dtype),
              "; start both sides with the same --teacher.values and --run.precision");
  bytes += received.bytes();
  return soft_targets(payload_in(received.buffer(), config, id.rows), config.payload, head);
}

SoftTargetReceiver::SoftTargetReceiver(const Communicator& world, const Placement& placement,
                                       ChannelConfig config, int64_t units, at::Tensor head)
    : impl_(std::make_unique<Impl>(world, placement, config, units, std::move(head))) {}

SoftTargetReceiver::~SoftTargetReceiver() {
  // Receives are left only if the student stopped early; their messages may never come.
  if (!impl_->receives.empty()) impl_->abandon();
}

SoftTargets SoftTargetReceiver::targets(const MicroBatchId& id, const at::Tensor& tokens) {
  return impl_->targets(id, tokens);
}

void SoftTargetReceiver::progress() { impl_->progress(); }

double SoftTargetReceiver::take_wait_seconds() { return std::exchange(impl_->wait_seconds, 0.0); }

int64_t SoftTargetReceiver::take_bytes() { return std::exchange(impl_->bytes, 0); }

}  // namespace temper
