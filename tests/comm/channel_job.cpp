// The stand-in for the real job.
#include "channel_job.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <deque>
#include <random>

namespace temper {
namespace {

/// Sleeps of a rank: fixed, or drawn.
class Delays {
 public:
  Delays(const ChannelJob& job, int rank)
      : random_(job.random_delays != 0), engine_(job.random_delays + static_cast<uint64_t>(rank)) {}
  void sleep(int64_t us) {
    if (us > 0)
      usleep(static_cast<useconds_t>(
          random_ ? static_cast<int64_t>(engine_() % static_cast<uint64_t>(us)) : us));
  }

 private:
  bool random_;
  std::mt19937_64 engine_;
};

/// The micro-batches of each student in one step, as row ranges of the global batch.
std::vector<std::vector<RowRange>> step_plan(const ChannelJob& job) {
  std::vector<std::vector<RowRange>> plan;
  int64_t row = 0;
  for (const int64_t rows : job.rows_of_student) {
    plan.push_back(micro_batches({.begin = row, .end = row + rows}, job.micro_batch));
    row += rows;
  }
  return plan;
}

/// One micro-batch that a teacher serves.
struct Work {
  int64_t step;
  int student;
  RowRange rows;
};

ChannelJobResult teach(const SoftTargetTransports& transports, const ChannelJob& job) {
  ChannelJobResult result;
  const Placement& placement = transports.placement();
  const int rank = transports.world().rank();
  Delays delays(job, rank);
  const auto plan = step_plan(job);
  std::vector<int64_t> unit(plan.size(), 0);
  std::deque<Work> work;
  for (int64_t step = 0; step < job.steps; ++step) {
    for (size_t student = 0; student < plan.size(); ++student) {
      for (const RowRange& rows : plan[student]) {
        if (placement.teacher_of(static_cast<int>(student), unit[student]++) == rank)
          work.push_back({step, static_cast<int>(student), rows});
      }
    }
  }

  SoftTargetSender sender(transports);
  while (!work.empty()) {
    std::vector<std::pair<Work, at::Tensor>> held;
    const auto take = [&](const PayloadView& view) {
      held.emplace_back(work.front(), view.values);  // (rows·S, V)
      work.pop_front();
    };
    take(sender.acquire(work.front().student, work.front().rows.size()));
    while (!work.empty() && static_cast<int64_t>(held.size()) < job.teacher_batch) {
      const auto view = sender.try_acquire(work.front().student, work.front().rows.size());
      if (!view) break;
      take(*view);
    }
    delays.sleep(job.teacher_delay_us);
    sender.progress();
    for (const auto& [each, values] : held) {
      const RowRange& rows = each.rows;
      values.copy_(job_logits(job.config, each.step, rows.begin, rows.size()).flatten(0, 1));
    }
    for (const auto& [each, values] : held) {
      const RowRange& rows = each.rows;
      sender.send(each.student, job_header(job.config, each.step, rows.begin, rows.size()));
    }
    result.units += static_cast<int64_t>(held.size());
    result.most_at_once = std::max(result.most_at_once, static_cast<int64_t>(held.size()));
  }
  sender.finish();
  result.wait_seconds = sender.take_wait_seconds();
  EXPECT_EQ(sender.take_wait_seconds(), 0.0);
  return result;
}

ChannelJobResult learn(const SoftTargetTransports& transports, const Communicator& students,
                       const ChannelJob& job) {
  ChannelJobResult result;
  const int rank = transports.world().rank();
  Delays delays(job, rank);
  const auto plan = step_plan(job)[static_cast<size_t>(transports.placement().role_index(rank))];
  SoftTargetReceiver receiver(transports, job.steps * static_cast<int64_t>(plan.size()));
  for (int64_t step = 0; step < job.steps; ++step) {
    for (const RowRange& rows : plan) {
      const at::Tensor tokens =
          job_tokens(step, rows.begin, rows.size(), job.config.seq);  // (rows, S)
      const at::Tensor logits =
          receiver.targets({.step = step, .first_row = rows.begin, .rows = rows.size()}, tokens)
              .values;  // (rows·S, V), over NCCL on a GPU
      const at::Tensor expected = job_logits(job.config, step, rows.begin, rows.size())
                                      .view({-1, job.config.payload.vocab});  // (rows·S, V)
      EXPECT_EQ(logits.scalar_type(), job.config.payload.dtype);
      EXPECT_TRUE(logits.cpu().equal(expected)) << "step " << step << ", row " << rows.begin;
      delays.sleep(job.student_delay_us);
      receiver.progress();
      EXPECT_TRUE(logits.cpu().equal(expected))
          << "overwritten before its release: step " << step << ", row " << rows.begin;
      ++result.units;
    }
    students.barrier();  // the reduction of gradients, which ties the students together
  }
  result.bytes = receiver.take_bytes();
  result.wait_seconds = receiver.take_wait_seconds();
  result.fill = receiver.take_fill();
  EXPECT_EQ(receiver.take_bytes(), 0);
  EXPECT_EQ(receiver.take_wait_seconds(), 0.0);
  return result;
}

}  // namespace

at::Tensor job_tokens(int64_t step, int64_t first_row, int64_t rows, int64_t seq) {
  return (at::arange(rows * seq, at::kLong) + 31 * step + first_row * seq)
      .view({rows, seq});  // (rows, S)
}

at::Tensor job_logits(const ChannelConfig& config, int64_t step, int64_t first_row, int64_t rows) {
  // Integers below 251, which bfloat16 holds exactly.
  const at::Tensor places = at::arange(rows * config.seq * config.payload.vocab, at::kLong) +
                            first_row * config.seq * config.payload.vocab +
                            7919 * step;  // (rows·S·V)
  return (places * 37 % 251)
      .to(config.payload.dtype)
      .view({rows, config.seq, config.payload.vocab});  // (rows, S, V)
}

SoftTargetHeader job_header(const ChannelConfig& config, int64_t step, int64_t first_row,
                            int64_t rows) {
  return make_header(config, {.step = step, .first_row = first_row, .rows = rows},
                     job_tokens(step, first_row, rows, config.seq));
}

ChannelJobResult run_job(const Communicator& world, ChannelJob job) {
  job.config.max_rows = job.micro_batch;
  const Placement placement{.teachers = job.teachers, .students = job.students, .turns = job.turns};
  const int me = world.rank();
  const bool teaches = placement.is_teacher(me);
  const bool learns = std::find(job.students.begin(), job.students.end(), me) != job.students.end();
  const Communicator group = world.split(teaches ? 1 : learns ? 0 : 2, me);
  ChannelJobResult result;
  {
    const SoftTargetTransports transports(world, placement, job.config, job.transport);
    if (teaches) result = teach(transports, job);
    if (learns) result = learn(transports, group, job);
  }
  world.barrier();
  for (int look = 0; look < 10; ++look) {
    int found = 0;
    MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, world.handle(), &found, MPI_STATUS_IGNORE);
    EXPECT_EQ(found, 0) << "a message was left over";
  }
  world.barrier();
  return result;
}

}  // namespace temper
