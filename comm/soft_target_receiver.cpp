// The student's end of the soft-target channel.
#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "comm/activity.h"
#include "comm/mpi/backoff.h"
#include "comm/own_tokens.h"
#include "comm/payload_views.h"
#include "comm/soft_target_channel.h"
#include "comm/soft_target_check.h"
#include "comm/value_coding.h"

// Note [Credits]
// ~~~~~~~~~~~~~~
// The student owns D + 1 buffers (D: lookahead); unit n lives in buffer n mod (D + 1). When
// targets() is called for unit n, unit n - 1 is released, and every unit up to n + D that has no
// credit yet is granted to its teacher through the link to it. So while the student works on unit
// n, the D units after it are granted; buffers suffice, since n .. n + D are D + 1 units. With D =
// 0 the only grant is for n itself, when it is asked for. The constructor acts as if unit -1 were
// at work: it grants 0 .. D - 1. Grants go out in unit order; those of one teacher therefore match
// its messages in order. One ring serves links of every kind: a slot belongs to a unit, and so to
// whichever link the unit's teacher has.

// Note [Early end]
// ~~~~~~~~~~~~~~~~
// Students that are asked to stop agree on a last step: the furthest in which any of them has
// granted a unit. They go on to it, each granting what lies up to it and nothing beyond, so every
// credit is used and every message is taken. Then each tells the teachers of the units it will not
// ask for, with kEndOfCredits where the next credit would have come. A teacher has served the units
// up to the last step, since those have credits; it meets the end at its first unit after it, and
// waits for the end from every student that it has further units of. So nothing is left on its way.

namespace temper {

struct SoftTargetReceiver::Impl {
  const Placement& placement;
  const ChannelConfig& config;
  int64_t units;
  int64_t all_units;                                  // that there would be without an early end
  at::Tensor head;                                    // (V, C), for the payload hidden
  int student = 0;                                    // this rank's index among the students
  std::vector<at::Tensor> buffers;                    // D + 1 of (bytes)
  std::map<int, std::unique_ptr<StudentLink>> links;  // by the rank of each teacher of its turns
  int64_t next = 0;                                   // the unit of the next targets()
  int64_t granted = 0;
  double wait_seconds = 0;
  int64_t bytes = 0;
  LookaheadFill fill;
  OwnTokensOutbox own_tokens;
  PayloadViews views;
  PayloadView view;  // of the last targets()

  Impl(const SoftTargetTransports& transports, int64_t unit_count, at::Tensor teacher_head)
      : placement(transports.placement()),
        config(transports.config()),
        units(unit_count),
        all_units(unit_count),
        head(std::move(teacher_head)),
        own_tokens(transports.world()) {
    const int rank = transports.world().rank();
    TORCH_CHECK(!placement.colocated() && !placement.is_teacher(rank),
                "SoftTargetReceiver is for a student rank with teacher ranks");
    student = placement.role_index(rank);
    buffers = transports.ring();
    for (int teacher = 0; teacher < static_cast<int>(placement.teachers.size()); ++teacher) {
      const int teacher_rank = placement.teachers[static_cast<size_t>(teacher)];
      if (placement.serves(teacher_rank, student))
        links[teacher_rank] = transports.student_link(teacher);
    }
    grant_through(config.lookahead - 1);
  }

  StudentLink& link_of(int64_t unit) { return *links.at(placement.teacher_of(student, unit)); }

  void grant_through(int64_t last_unit) {
    for (; granted <= last_unit && granted < units; ++granted) {
      const auto slot = static_cast<size_t>(granted % static_cast<int64_t>(buffers.size()));
      link_of(granted).grant(granted, buffers[slot]);
    }
  }

  /// Messages that have come and were not taken.
  int64_t arrived() {
    int64_t count = 0;
    for (const auto& [teacher, link] : links) count += link->arrived();
    return count;
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
  fill.granted += static_cast<double>(granted - unit);
  fill.arrived += static_cast<double>(arrived());
  grant_through(unit + config.lookahead);
  StudentLink& link = link_of(unit);
  const int teacher = placement.teacher_of(student, unit);
  if (id.own_tokens) own_tokens.send(tokens, teacher);
  {
    const Waiting waiting(Operation::kSoftTargets, teacher);
    const Backoff backoff;
    while (link.arrived() == 0) {
      arrived();  // the other links' messages go on, too
      own_tokens.progress();
      backoff.pause();
    }
    wait_seconds += backoff.seconds();
  }

  const Arrival arrival = link.take();
  check_header(expected, arrival.header, teacher);
  TORCH_CHECK(arrival.bytes == message_bytes(config, id.rows), "soft targets from teacher rank ",
              teacher, " for step ", id.step, ", first_row ", id.first_row, ": ", arrival.bytes,
              " bytes came where ", message_bytes(config, id.rows), " are right for ",
              value_type_name(config.payload.dtype),
              "; start both sides with the same --teacher.values and --run.precision");
  bytes += arrival.wire_bytes;
  view = views.of(arrival.buffer, config, id.rows);
  check_soft_targets(view, config.payload, id, tokens.numel(),
                     "teacher rank " + std::to_string(teacher));
  return soft_targets(view, config.payload, head);
}

SoftTargetReceiver::SoftTargetReceiver(const SoftTargetTransports& transports, int64_t units,
                                       at::Tensor head)
    : impl_(std::make_unique<Impl>(transports, units, std::move(head))) {}

SoftTargetReceiver::~SoftTargetReceiver() = default;

SoftTargets SoftTargetReceiver::targets(const MicroBatchId& id, const at::Tensor& tokens) {
  return impl_->targets(id, tokens);
}

// Over NCCL it came to GPU memory.
PayloadView SoftTargetReceiver::payload() const { return impl_->view.cpu(); }

void SoftTargetReceiver::progress() { impl_->arrived(); }

void SoftTargetReceiver::end_after(int64_t units) {
  TORCH_CHECK(units >= impl_->granted, "a student that has granted ", impl_->granted,
              " micro-batches cannot end after ", units);
  impl_->units = std::min(impl_->units, units);
}

void SoftTargetReceiver::end() {
  TORCH_CHECK(impl_->next == impl_->units, "a student ended its stream after ", impl_->next, " of ",
              impl_->units, " micro-batches");
  std::set<int> waiting;  // ranks of teachers
  for (int64_t unit = impl_->units; unit < impl_->all_units && waiting.size() < impl_->links.size();
       ++unit)
    waiting.insert(impl_->placement.teacher_of(impl_->student, unit));
  for (const int teacher : waiting) impl_->links.at(teacher)->end();
}

double SoftTargetReceiver::take_wait_seconds() { return std::exchange(impl_->wait_seconds, 0.0); }

int64_t SoftTargetReceiver::take_bytes() { return std::exchange(impl_->bytes, 0); }

LookaheadFill SoftTargetReceiver::take_fill() { return std::exchange(impl_->fill, {}); }

}  // namespace temper
