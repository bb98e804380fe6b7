#include "launch/machine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <malloc.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "comm/agree.h"
#include "comm/mpi/environment.h"
#include "launch/exit_code.h"
#include "launch/progress.h"

namespace temper {

namespace {

constexpr unsigned kAbortSeconds = 5;

std::string host_name() {
  char host[256] = "";
  gethostname(host, sizeof host - 1);
  return host;
}

cpu_set_t allowed_cpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) != 0) CPU_SET(0, &set);
  return set;
}

// A step's tensors (16 MiB of logits, say) come again in the next step. glibc would give their
// pages back to the system and have them zeroed anew each time, which costs a fifth of a student's
// time at a vocabulary of 32,000. Larger blocks, such as weights, still go back when they are
// freed.
void keep_freed_memory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // the most that glibc takes
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
}

/// Says what a watchdog has found, and ends the job.
std::shared_ptr<Watchdog> watch_ranks(const RunConfig& config, const Communicator& world) {
  const std::string speaker = process_name(world);
  const std::string timeout = format("%g", config.timeout);
  return std::make_shared<Watchdog>(world, config.timeout, [=](const std::string& fault) {
    std::fprintf(stderr,
                 "%s: error: %s. That is longer than --run.timeout %s s; the job ends. If it was "
                 "meant, give a longer --run.timeout, or 0\n",
                 speaker.c_str(), fault.c_str(), timeout.c_str());
    // Should MPI not end this process: mpirun ends the job of one that is gone.
    std::signal(SIGALRM, [](int) { std::_Exit(kLostRank); });
    alarm(kAbortSeconds);
    MpiEnvironment::abort(kLostRank);
  });
}

}  // namespace

std::string describe(const Machine& machine) {
  return format("%d thread%s each, on %s", machine.threads, machine.threads == 1 ? "" : "s",
                machine.device.is_cuda() ? "GPUs" : "the CPU");
}

std::string process_name(const Communicator& world) {
  if (world.size() == 1) return "temper";
  return "temper: rank " + std::to_string(world.rank()) + " on " + host_name();
}

std::vector<std::string> rank_names(const Communicator& world) {
  return world.all_gather("rank " + std::to_string(world.rank()) + " on " + host_name());
}

Machine set_up_machine(const RunConfig& config, const Communicator& world) {
  keep_freed_memory();
  Machine machine;
  const Communicator node = world.split_node();

  // Ranks with the same set of cores share it; a launcher may also have bound each rank to cores of
  // its own.
  const cpu_set_t mine = allowed_cpus();
  const std::vector<std::string> masks =
      node.all_gather(std::string(reinterpret_cast<const char*>(&mine), sizeof mine));
  const auto sharing =
      std::count(masks.begin(), masks.end(), masks[static_cast<size_t>(node.rank())]);
  const int cores = CPU_COUNT(&mine);
  machine.cores = cores;
  machine.threads = config.threads > 0 ? static_cast<int>(config.threads)
                                       : std::max(1, cores / static_cast<int>(sharing));
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  if (config.threads == 0 && node.size() < online && cores * node.size() < online &&
      world.size() > 1) {
    machine.note = "the launcher bound each rank to " + std::to_string(cores) + " of " +
                   std::to_string(online) + " cores; 'mpirun --bind-to none' lets temper use all";
  }
  at::set_num_threads(machine.threads);
  at::set_num_interop_threads(1);

  const int gpus = at::hasCUDA() ? static_cast<int>(at::detail::getCUDAHooks().deviceCount()) : 0;
  agree(world, [&] {
    TORCH_CHECK_VALUE(
        config.device != "cuda" || gpus > 0,
        "--run.device is cuda, but no GPU is visible to this build (CUDA programs come from the "
        "preset 'cuda', "
        "and CUDA_VISIBLE_DEVICES must not hide the GPU); --run.device cpu runs without one");
  });
  if (gpus == 0 && config.device == "auto" && at::detail::getCUDAHooks().hasCUDART()) {
    machine.note += (machine.note.empty() ? "" : "; ") +
                    std::string(
                        "no GPU is visible to this CUDA program: models run on the CPU "
                        "(--run.device cuda makes that an error)");
  }
  if (gpus > 0 && config.device != "cpu")
    machine.device = at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(node.rank() % gpus));
  // What does not name a GPU, in LibTorch or here, means the current one, which is the first at the
  // start, on every rank.
  agree(world, [&] {
    if (machine.device.is_cuda())
      c10::impl::getDeviceGuardImpl(machine.device.type())->setDevice(machine.device);
  });

  const int leader =
      static_cast<int>(node.all_reduce(static_cast<int64_t>(world.rank()), Reduce::kMin));
  std::vector<std::string> leaders = world.all_gather(std::to_string(leader));
  std::vector<std::string> seen;
  for (const std::string& each : leaders) {
    auto found = std::find(seen.begin(), seen.end(), each);
    if (found == seen.end()) found = seen.insert(seen.end(), each);
    machine.node_of_rank.push_back(static_cast<int>(found - seen.begin()));
  }
  if (world.size() > 1 && config.timeout > 0) {
    machine.watchdog = watch_ranks(config, world);
    const std::string& note = machine.watchdog->note();
    if (!note.empty()) machine.note += (machine.note.empty() ? "" : "; ") + note;
  }
  return machine;
}

}  // namespace temper
