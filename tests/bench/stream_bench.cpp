// How fast soft targets go from a teacher to a student on one node: through shared memory, by the
// channel's messages, and by bare MPI_Send/MPI_Recv, in turn in one run. Start it with two ranks,
// each bound to a core; transport.sh does so with several settings of Open MPI.
//
//   mpirun -n 2 --bind-to core stream_bench [repetitions] [MiB per measurement]
//
// The producer writes every message's bytes from a source of the same size into the buffer that it
// is given, as a teacher writes its values, and the consumer adds all of them up: a transport that
// moved nothing would be caught by the sum. Each line: message size, lookahead of both channels,
// median bytes per second of each path, and the ratio of shared memory to the faster of the other
// two. Small messages are measured with deeper lookaheads too: a ring that outgrows a core's own
// cache passes through the shared one, from which the other core reads faster. Then the hand-over
// alone: time from the moment a teacher publishes a small message to the moment the student,
// waiting for it, has it.
#include <ATen/Parallel.h>
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <numeric>
#include <optional>
#include <utility>
#include <vector>

#include "comm/mpi/check.h"
#include "comm/mpi/environment.h"
#include "comm/soft_target_channel.h"

namespace temper {
namespace {

constexpr int kStudent = 0, kTeacher = 1;
constexpr int64_t kSeq = 16;
constexpr int64_t kLookaheads[] = {1, 2, 16};
constexpr int64_t kMostInFlight = int64_t{8} << 20;  // bytes; what is larger gains nothing by depth

int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())  // one clock for the whole node
      .count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// The sum of the 64-bit words.
uint64_t sum_of(const void* data, int64_t bytes) {
  const auto* words = static_cast<const uint64_t*>(data);
  return std::accumulate(words, words + bytes / 8, uint64_t{0});
}

/// A channel whose messages have `bytes` bytes of payload: one row of fp32 logits.
ChannelConfig channel_of(int64_t bytes, int64_t lookahead) {
  ChannelConfig config;
  config.max_rows = 1;
  config.seq = kSeq;
  config.payload.vocab = bytes / (kSeq * 4);
  config.payload.dtype = at::kFloat;
  config.lookahead = lookahead;
  return config;
}

/// What both ends of a measurement know.
struct Load {
  int64_t bytes = 0;
  int64_t messages = 0;
  at::Tensor source;  // (bytes) uint8
  uint64_t sum = 0;   // of the source's words
};

Load make_load(int64_t bytes, int64_t total) {
  Load load;
  load.bytes = bytes;
  load.messages = std::max<int64_t>(8, total / bytes);
  load.source = (at::arange(bytes, at::kLong) * 37 % 251).to(at::kByte);  // (bytes)
  load.sum = sum_of(load.source.const_data_ptr(), bytes);
  return load;
}

/// The student's seconds from the first message to the last.
double run_channel(const SoftTargetTransports& transports, const Load& load) {
  const Communicator& world = transports.world();
  const at::Tensor tokens = at::zeros({1, kSeq}, at::kLong);                // (1, S)
  const at::Tensor logits = load.source.view(at::kFloat).view({kSeq, -1});  // (S, V)
  double seconds = 0;
  if (world.rank() == kTeacher) {
    SoftTargetSender sender(transports);
    world.barrier();
    for (int64_t unit = 0; unit < load.messages; ++unit) {
      sender.acquire(0, 1).write_values(0, logits);
      sender.send(0, make_header(transports.config(), {.step = unit, .rows = 1}, tokens));
    }
    sender.finish();
  } else {
    SoftTargetReceiver receiver(transports, load.messages);
    world.barrier();
    const int64_t start = now_ns();
    uint64_t sum = 0;
    for (int64_t unit = 0; unit < load.messages; ++unit) {
      const at::Tensor values =
          receiver.targets({.step = unit, .rows = 1}, tokens).values;  // (S, V)
      sum += sum_of(values.const_data_ptr(), load.bytes);
    }
    seconds = static_cast<double>(now_ns() - start) * 1e-9;
    TORCH_CHECK(sum == load.sum * static_cast<uint64_t>(load.messages), "bytes were lost");
  }
  return world.all_reduce(seconds, Reduce::kMax);
}

/// The same with MPI_Send and MPI_Recv, one buffer a side.
double run_bare(const Communicator& world, const Load& load) {
  const at::Tensor buffer = at::empty({load.bytes}, at::kByte);  // (bytes)
  char* data = static_cast<char*>(buffer.data_ptr());
  const auto count = static_cast<int>(load.bytes);
  world.barrier();
  const int64_t start = now_ns();
  uint64_t sum = 0;
  for (int64_t unit = 0; unit < load.messages; ++unit) {
    if (world.rank() == kTeacher) {
      std::memcpy(data, load.source.const_data_ptr(), static_cast<size_t>(load.bytes));
      check_mpi(MPI_Send(data, count, MPI_BYTE, kStudent, 1, world.handle()), "MPI_Send");
    } else {
      check_mpi(MPI_Recv(data, count, MPI_BYTE, kTeacher, 1, world.handle(), MPI_STATUS_IGNORE),
                "MPI_Recv");
      sum += sum_of(data, load.bytes);
    }
  }
  double seconds = static_cast<double>(now_ns() - start) * 1e-9;
  TORCH_CHECK(world.rank() == kTeacher || sum == load.sum * static_cast<uint64_t>(load.messages),
              "bytes were lost");
  return world.all_reduce(world.rank() == kStudent ? seconds : 0.0, Reduce::kMax);
}

/// Median microseconds from publish to seen, of small messages whose student is waiting.
double run_hand_over(const SoftTargetTransports& transports, int64_t messages) {
  const Communicator& world = transports.world();
  const at::Tensor tokens = at::zeros({1, kSeq}, at::kLong);  // (1, S)
  std::vector<double> us;
  world.barrier();
  if (world.rank() == kTeacher) {
    SoftTargetSender sender(transports);
    for (int64_t unit = 0; unit < messages; ++unit) {
      const at::Tensor values = sender.acquire(0, 1).values;  // (S, V)
      const SoftTargetHeader header =
          make_header(transports.config(), {.step = unit, .rows = 1}, tokens);
      const int64_t seen = now_ns();
      while (now_ns() - seen < 5000) continue;  // the student waits by now
      const int64_t published = now_ns();
      std::memcpy(values.data_ptr(), &published, sizeof published);
      sender.send(0, header);
    }
    sender.finish();
  } else {
    SoftTargetReceiver receiver(transports, messages);
    for (int64_t unit = 0; unit < messages; ++unit) {
      const at::Tensor values =
          receiver.targets({.step = unit, .rows = 1}, tokens).values;  // (S, V)
      const int64_t here = now_ns();
      int64_t published = 0;
      std::memcpy(&published, values.const_data_ptr(), sizeof published);
      us.push_back(static_cast<double>(here - published) * 1e-3);
    }
  }
  return world.all_reduce(us.empty() ? 0.0 : median(us), Reduce::kMax);
}

std::string size_text(int64_t bytes) {
  return bytes < (int64_t{1} << 20) ? std::to_string(bytes >> 10) + " KiB"
                                    : std::to_string(bytes >> 20) + " MiB";
}

/// Medians, GB/s.
struct Rates {
  double shared = 0, messages = 0, bare = 0;
};

Rates measure(const Communicator& world, const Placement& placement, const Load& load,
              int64_t lookahead, int repetitions) {
  std::map<Transport, std::unique_ptr<SoftTargetTransports>> channels;
  for (const Transport wish : {Transport::kShared, Transport::kMessages}) {
    TransportOptions options;
    options.wish = wish;
    channels[wish] = std::make_unique<SoftTargetTransports>(
        world, placement, channel_of(load.bytes, lookahead), options);
  }
  const double gigabytes = static_cast<double>(load.bytes * load.messages) * 1e-9;
  std::vector<double> shared, messages, bare;
  for (int repetition = -1; repetition < repetitions; ++repetition) {  // the first warms up
    const double rates[] = {gigabytes / run_channel(*channels[Transport::kShared], load),
                            gigabytes / run_channel(*channels[Transport::kMessages], load),
                            gigabytes / run_bare(world, load)};
    if (repetition < 0) continue;
    shared.push_back(rates[0]);
    messages.push_back(rates[1]);
    bare.push_back(rates[2]);
  }
  return {median(shared), median(messages), median(bare)};
}

void run(const Communicator& world, int repetitions, int64_t total) {
  TORCH_CHECK_VALUE(world.size() == 2, "stream_bench needs two ranks, not ", world.size());
  const bool prints = world.rank() == kStudent;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  const bool bound = world.all_reduce(int64_t{CPU_COUNT(&cores)}, Reduce::kMax) == 1;
  if (prints && !bound) std::printf("note: the ranks are not bound to a core each\n");
  const Placement placement{.teachers = {kTeacher}, .students = {kStudent}};
  if (prints) {
    std::printf("%10s %10s %12s %12s %12s %8s   medians of %d, GB/s\n", "message", "lookahead",
                "shared", "messages", "MPI_Send", "ratio", repetitions);
  }
  for (int64_t bytes = int64_t{64} << 10; bytes <= int64_t{64} << 20; bytes *= 4) {
    const Load load = make_load(bytes, total);
    for (const int64_t lookahead : kLookaheads) {
      if (lookahead > 2 && lookahead * bytes > kMostInFlight) continue;
      const Rates rates = measure(world, placement, load, lookahead, repetitions);
      if (prints) {
        std::printf("%10s %10lld %12.2f %12.2f %12.2f %8.2f\n", size_text(bytes).c_str(),
                    static_cast<long long>(lookahead), rates.shared, rates.messages, rates.bare,
                    rates.shared / std::max(rates.messages, rates.bare));
        std::fflush(stdout);
      }
    }
  }
  for (const Transport wish : {Transport::kShared, Transport::kMessages}) {
    TransportOptions options;
    options.wish = wish;
    const SoftTargetTransports transports(world, placement, channel_of(1024, 0), options);
    const double us = run_hand_over(transports, 2000);
    if (prints)
      std::printf("hand-over of 1 KiB, %s: %.2f us from publish to seen\n", transport_name(wish),
                  us);
  }
}

}  // namespace
}  // namespace temper

int main(int argc, char** argv) {
  const temper::MpiEnvironment environment(&argc, &argv);
  const temper::Communicator world = temper::Communicator::world();
  at::set_num_threads(1);
  try {
    temper::run(world, argc > 1 ? std::atoi(argv[1]) : 9,
                (argc > 2 ? int64_t{std::atoi(argv[2])} : int64_t{256}) << 20);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "stream_bench: %s\n", error.what());
    temper::MpiEnvironment::abort(1);
  }
  return 0;
}
