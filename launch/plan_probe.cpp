#include "launch/plan_probe.h"

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>

#include <algorithm>
#include <chrono>
#include <map>

#include "comm/gradient_reducer.h"
#include "comm/soft_target_channel.h"
#include "launch/setup.h"
#include "student/training_step.h"
#include "teacher/inference.h"
#include "teacher/payload_encoder.h"

namespace temper {

namespace {

using Clock = std::chrono::steady_clock;

constexpr int64_t kWarmUp = 3;

double since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

/// Soft targets of random logits, made before the clock runs: what a student does with a message,
/// without the message.
class CannedSoftTargets : public SoftTargetSource {
 public:
  CannedSoftTargets(const PayloadSpec& spec, double temperature, at::ScalarType compute)
      : spec_(spec), temperature_(temperature) {
    if (spec.kind == Payload::kHidden)
      head_ = at::randn({spec.vocab, spec.width}, at::kFloat).mul_(0.02).to(compute);  // (V, C)
  }

  SoftTargets targets(const MicroBatchId&, const at::Tensor& tokens) override {
    at::Tensor& message = messages_[tokens.numel()];
    if (!message.defined()) message = make(tokens.numel());
    view_ = PayloadView(message, spec_, tokens.numel());
    return soft_targets(view_, spec_, head_);
  }
  PayloadView payload() const override { return view_; }
  double take_wait_seconds() override { return 0; }
  int64_t take_bytes() override { return 0; }

 private:
  at::Tensor make(int64_t tokens) const {
    at::Tensor message = at::zeros({tokens * spec_.bytes_per_token()}, at::kByte);  // (bytes)
    const PayloadView view(message, spec_, tokens);
    if (spec_.kind == Payload::kHidden) {
      view.write_values(0, at::randn({tokens, spec_.width}, at::kFloat));  // (N, C)
      return message;
    }
    constexpr int64_t kChunk = 64;
    for (int64_t begin = 0; begin < tokens; begin += kChunk) {
      const int64_t n = std::min(kChunk, tokens - begin);
      const at::Tensor logits = at::randn({n, spec_.vocab}, at::kFloat);  // (n, V)
      encode_payload(logits, spec_, temperature_, std::vector<double>(static_cast<size_t>(n), 0.5),
                     begin, view);
    }
    return message;
  }

  PayloadSpec spec_;
  double temperature_;
  at::Tensor head_;                         // (V, C) for the payload hidden
  PayloadView view_;                        // of the last call
  std::map<int64_t, at::Tensor> messages_;  // (bytes), by number of tokens
};

/// Calls `unit` until every rank of `world` has done kWarmUp + steps of them.
void keep_busy(const Communicator& world, int64_t steps,
               const std::function<void(int64_t number, bool measured)>& unit) {
  world.barrier();
  Request everybody;
  for (int64_t number = 0;; ++number) {
    if (number >= kWarmUp + steps && everybody.test()) return;
    unit(number, number >= kWarmUp && number < kWarmUp + steps);
    if (number + 1 == kWarmUp + steps) everybody = world.barrier_async();
  }
}

/// Seconds that a message of the channel takes from world rank `from` to `to`, with nothing else to
/// do. Collective over `world`; the result is on every rank.
double message_seconds(const ProbeJob& job, int from, int to, const ChannelConfig& channel,
                       const at::Tensor& head) {
  const Communicator& world = job.world;
  constexpr int64_t kMessages = 16;
  const bool takes_part = world.rank() == from || world.rank() == to;
  const Communicator pair = world.split(takes_part ? 1 : 0, world.rank());
  double seconds = 0;
  if (takes_part) {
    const Placement two{.teachers = {from < to ? 0 : 1}, .students = {from < to ? 1 : 0}};
    const at::Tensor tokens = at::zeros({channel.max_rows, channel.seq}, at::kLong);  // (B, S)
    const auto node = [&](int rank) { return job.machine.node_of_rank[static_cast<size_t>(rank)]; };
    TransportOptions transport;
    transport.node_of_rank = {node(std::min(from, to)), node(std::max(from, to))};
    transport.device = job.machine.device;
    transport.students_write = job.train.free_running.any();
    // What was asked for may not serve this pair, or this payload, and the job itself will say so:
    // here only two ranks would hear of it.
    transport.wish = transport_from_name(job.teacher_config.transport);
    if ((node(from) != node(to) && transport.wish == Transport::kShared) ||
        transport.wish == Transport::kNccl)
      transport.wish = Transport::kAuto;
    const SoftTargetTransports transports(pair, two, channel, transport);
    if (world.rank() == from) {
      SoftTargetSender sender(transports);
      for (int64_t n = 0; n < kMessages; ++n) {
        const PayloadView out = sender.acquire(0, channel.max_rows);
        if (n <= channel.lookahead) {  // every buffer of the ring once: NaN may lie there
          for (const at::Tensor* part : {&out.scalars, &out.values, &out.ids})
            if (part->defined()) part->zero_();
        }
        const MicroBatchId id{.step = n, .first_row = 0, .rows = channel.max_rows};
        sender.send(0, make_header(channel, id, tokens));
      }
      sender.finish();
    } else {
      SoftTargetReceiver receiver(transports, kMessages, head);
      Clock::time_point start;
      for (int64_t n = 0; n < kMessages; ++n) {
        receiver.targets({.step = n, .first_row = 0, .rows = channel.max_rows}, tokens);
        if (n == kWarmUp) start = Clock::now();
      }
      seconds = since(start) / static_cast<double>(kMessages - 1 - kWarmUp);
    }
  }
  return world.all_reduce(seconds, Reduce::kMax);
}

/// A teacher and a student on one node (`same`) or on two; nothing if there are none.
std::optional<std::pair<int, int>> find_pair(const Placement& placement,
                                             const std::vector<int>& node_of_rank, bool same) {
  const auto node = [&](int rank) { return node_of_rank[static_cast<size_t>(rank)]; };
  for (const int teacher : placement.teachers) {
    for (const int student : placement.students) {
      if ((node(teacher) == node(student)) == same) return std::pair{teacher, student};
    }
  }
  return std::nullopt;
}

/// Sums over the students' gradients: bytes a second on the bus.
double reduce_bandwidth(ProbeJob& job, Collectives& students) {
  const at::Tensor gradient = students.shared_zeros_like(job.student->flat_gradients());  // (P)
  GradientReducer reducer(students, gradient);
  std::vector<double> seconds;
  const auto wait_for_gpu = [&] {
    if (gradient.is_cuda()) at::detail::getCUDAHooks().deviceSynchronize(gradient.device().index());
  };
  for (int64_t n = 0; n < kWarmUp + 5; ++n) {
    gradient.zero_();
    wait_for_gpu();
    const auto start = Clock::now();
    reducer.reduce();
    students.wait_on_host();
    wait_for_gpu();
    if (n >= kWarmUp) seconds.push_back(since(start));
  }
  const auto ranks = static_cast<double>(students.size());
  return 2 * (ranks - 1) / ranks * static_cast<double>(gradient.nbytes()) / median(seconds);
}

}  // namespace

PayloadSpec planned_spec(Payload payload, const TransformerConfig& teacher,
                         const TeacherConfig& config, at::ScalarType compute) {
  TeacherConfig own = config;
  own.payload = payload_name(payload);
  return own.payload_spec(teacher, compute);
}

ProbeResult run_probe(ProbeJob& job) {
  const Communicator& world = job.world;
  const bool alone = world.size() == 1;
  const bool teaches = alone || job.placement.is_teacher(world.rank());
  const bool learns = alone || !teaches;
  const int64_t rows = (job.train.batch + job.students - 1) / job.students;
  const int64_t unit_rows =
      job.train.micro_batch > 0 ? std::min(job.train.micro_batch, rows) : rows;
  const double unit_tokens = static_cast<double>(unit_rows * job.train.seq);
  const double step_tokens = static_cast<double>(rows * job.train.seq);
  const Communicator self = Communicator::self();
  const std::unique_ptr<Collectives> own = make_collectives(self, job.machine);

  const Communicator role = world.split(teaches && !alone ? 1 : 0, world.rank());
  const std::unique_ptr<Collectives> group = learns ? make_collectives(role, job.machine) : nullptr;

  ProbeResult result;
  std::vector<double> update_seconds;
  for (const Payload kind : job.payloads) {
    const PayloadSpec spec = planned_spec(kind, job.teacher_shape, job.teacher_config, job.compute);
    PayloadRates rates;
    rates.payload = kind;
    rates.bytes = static_cast<double>(spec.bytes_per_token());
    double teacher_seconds = 0, student_seconds = 0;

    const auto encode = [&] {
      const TeacherInference inference(*job.teacher, job.compute, spec,
                                       {job.teacher_config.temperature, job.train.steps}, job.seed);
      const at::Tensor buffer =
          at::empty({unit_rows * job.train.seq * spec.bytes_per_token()}, at::kByte);  // (bytes)
      const PayloadView out(buffer, spec, unit_rows * job.train.seq);
      std::vector<double> seconds;
      keep_busy(world, job.steps, [&](int64_t number, bool measured) {
        const auto start = Clock::now();
        const Batch batch = job.corpus.read(Part::kTrain, job.seed, number * job.train.batch,
                                            unit_rows, job.train.seq);
        inference.soft_targets({.step = number, .first_row = 0, .rows = unit_rows}, batch.tokens,
                               out);
        hash_tokens(batch.tokens);
        if (measured) seconds.push_back(since(start));
      });
      teacher_seconds = median(seconds) / unit_tokens;
    };
    const auto learn = [&] {
      TrainConfig train = job.train;
      train.batch = rows;
      const double temperature = job.teacher_config.temperature.value(0, job.train.steps);
      CannedSoftTargets source(spec, temperature, job.compute);
      TrainingStep step(*job.student, job.corpus, train, job.loss, job.compute, job.seed, *own,
                        &source);
      step.exact_times = true;
      std::vector<double> seconds;
      keep_busy(world, job.steps, [&](int64_t number, bool measured) {
        const StepResult done = step.run(number);
        if (!measured) return;
        seconds.push_back(done.seconds - done.update_seconds);
        update_seconds.push_back(done.update_seconds);
      });
      student_seconds = median(seconds) / step_tokens;
    };
    if (teaches) encode();
    if (learns) learn();
    rates.teacher_seconds = world.all_reduce(teacher_seconds, Reduce::kMax);
    rates.student_seconds = world.all_reduce(student_seconds, Reduce::kMax);

    ChannelConfig channel;
    channel.max_rows = unit_rows;
    channel.seq = job.train.seq;
    channel.payload = spec;
    channel.temperature = {job.teacher_config.temperature, job.train.steps};
    channel.lookahead = 1;  // what has piled up when the clock starts makes the rest look fast
    for (const bool same : {true, false}) {
      const auto pair = find_pair(job.placement, job.machine.node_of_rank, same);
      if (!pair) continue;
      const at::Tensor head =
          kind == Payload::kHidden ? at::zeros({1, spec.width}, job.compute) : at::Tensor();
      const double seconds = message_seconds(job, pair->first, pair->second, channel, head);
      if (same) {
        rates.copy_seconds = seconds / unit_tokens;
      } else {
        // Of the payload with the longest messages: the others' time is latency.
        result.link_bytes_per_s =
            std::max(result.link_bytes_per_s, rates.bytes * unit_tokens / seconds);
      }
    }
    result.payloads.push_back(rates);
  }
  double bandwidth = 0;
  if (learns && group->size() > 1) bandwidth = reduce_bandwidth(job, *group);
  world.barrier();
  result.node_bytes_per_s = world.all_reduce(bandwidth, Reduce::kMax);
  result.update_seconds =
      world.all_reduce(update_seconds.empty() ? 0 : median(update_seconds), Reduce::kMax);
  return result;
}

}  // namespace temper
