// The main of tests that run under mpirun. After each test the ranks tell each other who failed, so
// that a failure on one rank is a failure on all and mpirun's exit code is right whichever rank it
// came from. Rank 0 prints as usual, the others only their failures. A rank that leaves a test
// early can leave the others in a collective: CTest's timeout ends that.
#include <gtest/gtest.h>

#include <cstdio>

#include "comm/mpi/communicator.h"
#include "comm/mpi/environment.h"

namespace {

class FailuresOfAllRanks : public testing::EmptyTestEventListener {
 public:
  explicit FailuresOfAllRanks(const temper::Communicator& comm) : comm_(comm) {}

  void OnTestPartResult(const testing::TestPartResult& part) override {
    if (comm_.rank() == 0 || !part.failed()) return;  // rank 0 has GoogleTest's own printer
    std::fprintf(stderr, "[rank %d] %s:%d: %s\n", comm_.rank(),
                 part.file_name() != nullptr ? part.file_name() : "?", part.line_number(),
                 part.message());
  }

  void OnTestEnd(const testing::TestInfo& test) override {
    const int64_t mine = test.result()->Failed() ? 1 : 0;
    const int64_t failed = comm_.all_reduce(mine);
    if (mine == 0 && failed > 0) ADD_FAILURE() << "failed on " << failed << " other rank(s)";
  }

 private:
  const temper::Communicator& comm_;
};

}  // namespace

int main(int argc, char** argv) {
  temper::MpiEnvironment environment(&argc, &argv);
  const temper::Communicator world = temper::Communicator::world();
  testing::InitGoogleTest(&argc, argv);
  testing::TestEventListeners& listeners = testing::UnitTest::GetInstance()->listeners();
  if (world.rank() != 0) delete listeners.Release(listeners.default_result_printer());
  listeners.Append(new FailuresOfAllRanks(world));
  const int code = RUN_ALL_TESTS();
  const int64_t leaked = world.all_reduce(temper::Request::live());
  if (leaked == 0) return code;
  if (world.rank() == 0)
    std::fprintf(stderr, "the tests leaked %lld MPI request(s)\n", static_cast<long long>(leaked));
  return 1;
}
