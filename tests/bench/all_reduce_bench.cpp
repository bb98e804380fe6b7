// How fast the ranks of one node sum their gradients: in shared memory, by the messages that stand
// in where there is none, and with MPI_Allreduce, in turn in one run. all_reduce.sh starts it with
// several settings of Open MPI, and gloo beside it.
//
//   mpirun -n 2 --bind-to core all_reduce_bench [repetitions] [gradient MiB ...]
//
// Before each measurement every rank writes its gradient anew, as a backward pass does, and after
// it looks at the sum. A line: size, then the median bytes per second of each path: size of the
// gradient over the time of the slowest rank (algorithm bandwidth; times 2 (R - 1) / R it is the
// bus bandwidth, the same for two ranks).
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <mpi.h>
#include <sched.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

#include "comm/agree.h"
#include "comm/gradient_reducer.h"
#include "comm/mpi/check.h"
#include "comm/mpi/environment.h"

namespace temper {
namespace {

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// GB/s of one sum over the ranks of `gradient` (P).
double measure(const Communicator& world, const at::Tensor& gradient,
               const std::function<void()>& sum) {
  gradient.fill_(world.rank() + 1);
  check_mpi(MPI_Barrier(world.handle()), "MPI_Barrier");  // to the microsecond: it spins
  const double start = MPI_Wtime();
  sum();
  const double seconds = world.all_reduce(MPI_Wtime() - start, Reduce::kMax);
  const double expected = world.size() * (world.size() + 1) / 2.0;
  TORCH_CHECK(gradient.eq(expected).all().item<bool>(), "the sum is wrong");
  return static_cast<double>(gradient.nbytes()) * 1e-9 / seconds;
}

void run(const Communicator& world, int repetitions, const std::vector<int64_t>& mebibytes) {
  const bool prints = world.rank() == 0;
  cpu_set_t cores;
  CPU_ZERO(&cores);
  sched_getaffinity(0, sizeof cores, &cores);
  const bool bound = world.all_reduce(int64_t{CPU_COUNT(&cores)}, Reduce::kMax) == 1;
  if (prints && !bound) std::printf("note: the ranks are not bound to a core each\n");
  if (prints) {
    std::printf("%10s %12s %12s %14s   medians of %d, GB/s, %d ranks\n", "gradient", "shared",
                "messages", "MPI_Allreduce", repetitions, world.size());
  }
  const auto collectives = make_mpi_collectives(world);
  for (const int64_t size : mebibytes) {
    const at::Tensor plain = at::zeros({size << 18}, at::kFloat);     // (P)
    const at::Tensor shared = collectives->shared_zeros_like(plain);  // (P)
    TORCH_CHECK(collectives->note().empty(), collectives->note());
    GradientReducer in_memory(*collectives, shared);
    GradientReducer by_messages(*collectives, plain);
    std::vector<double> rates[3];
    for (int repetition = -1; repetition < repetitions; ++repetition) {  // the first warms up
      const double now[] = {measure(world, shared, [&] { in_memory.reduce(); }),
                            measure(world, plain, [&] { by_messages.reduce(); }),
                            measure(world, plain, [&] { world.all_reduce(plain); })};
      for (size_t path = 0; path < 3 && repetition >= 0; ++path) rates[path].push_back(now[path]);
    }
    if (prints) {
      std::printf("%6lld MiB %12.2f %12.2f %14.2f\n", static_cast<long long>(size),
                  median(rates[0]), median(rates[1]), median(rates[2]));
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace temper

int main(int argc, char** argv) {
  const temper::MpiEnvironment environment(&argc, &argv);
  const temper::Communicator world = temper::Communicator::world();
  at::set_num_threads(1);
  std::vector<int64_t> mebibytes;
  for (int i = 2; i < argc; ++i) mebibytes.push_back(std::atoi(argv[i]));
  if (mebibytes.empty()) mebibytes = {1, 4, 16, 64};
  try {
    temper::run(world, argc > 1 ? std::atoi(argv[1]) : 9, mebibytes);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "all_reduce_bench: %s\n", temper::plain_message(error).c_str());
    temper::MpiEnvironment::abort(1);
  }
  return 0;
}
