// MPI's life in a process that nobody started with mpirun. MPI can be initialised once in a
// process: so each test that does it runs in a child, as a death test.
#include "comm/mpi/environment.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "comm/mpi/check.h"
#include "comm/mpi/communicator.h"

namespace temper {
namespace {

class EnvironmentTest : public testing::Test {
 protected:
  // The child starts afresh: LibTorch and MPI have threads that a fork would lose.
  EnvironmentTest() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

/// Ends the child: 0 if `fine`.
[[noreturn]] void leave(bool fine) { std::exit(fine ? 0 : 3); }

TEST_F(EnvironmentTest, WorldOfOneWithoutMpirun) {
  EXPECT_EXIT(
      {
        bool fine = false;
        {
          const MpiEnvironment environment(nullptr, nullptr);
          const Communicator world = Communicator::world();
          const char* yields = std::getenv("OMPI_MCA_mpi_yield_when_idle");
          fine = world.size() == 1 && world.all_reduce(2.5) == 2.5 && mpi_running() &&
                 yields != nullptr && std::string(yields) == "1";
        }
        leave(fine && !mpi_running());
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(EnvironmentTest, CommunicatorsAndRequestsMayOutliveMpi) {
  EXPECT_EXIT(
      {
        {
          std::optional<Communicator> world;
          Request receive;
          {
            const MpiEnvironment environment(nullptr, nullptr);
            world = Communicator::world();
            receive = world->receive_async(at::zeros({1}), 0, 1);  // (1)
            receive.abandon();
          }
          Communicator moved = std::move(*world);
        }
        leave(true);
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(EnvironmentTest, SaysWhenAMessageWasForgotten) {
  EXPECT_EXIT(
      {
        Request forgotten;
        {
          const MpiEnvironment environment(nullptr, nullptr);
          const Communicator world = Communicator::world();
          const bool none = Request::live() == 0;
          forgotten = world.receive_async(at::zeros({1}), 0, 1);  // (1)
          Request sent = world.send_async(at::zeros({1}), 0, 2);  // (1), and received below
          world.receive_async(at::zeros({1}), 0, 2).wait();       // (1)
          sent.wait();
          if (!none || Request::live() != 1) leave(false);
        }
        std::_Exit(Request::live() == 1 ? 4 : 3);
      },
      testing::ExitedWithCode(4), "1 message\\(s\\) not complete at MPI_Finalize");
}

TEST_F(EnvironmentTest, KeepsTheUsersSettingAndRefusesASecondStart) {
  EXPECT_EXIT(
      {
        setenv("OMPI_MCA_mpi_yield_when_idle", "0", 1);
        const MpiEnvironment environment(nullptr, nullptr);
        bool refused = false;
        try {
          const MpiEnvironment second(nullptr, nullptr);
        } catch (const c10::Error&) {
          refused = true;
        }
        leave(refused && std::string(std::getenv("OMPI_MCA_mpi_yield_when_idle")) == "0");
      },
      testing::ExitedWithCode(0), "");
}

TEST_F(EnvironmentTest, AbortGivesItsExitCode) {
  EXPECT_EXIT(
      {
        const MpiEnvironment environment(nullptr, nullptr);
        MpiEnvironment::abort(7);
      },
      testing::ExitedWithCode(7), "");
  EXPECT_EXIT(MpiEnvironment::abort(8), testing::ExitedWithCode(8), "");  // before MPI starts
}

}  // namespace
}  // namespace temper
