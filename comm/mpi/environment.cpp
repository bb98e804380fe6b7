// MPI's life in this process.
#include "comm/mpi/environment.h"

#include <c10/util/Exception.h>
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <exception>

#include "comm/mpi/check.h"
#include "comm/mpi/request.h"

namespace temper {

MpiEnvironment::MpiEnvironment(int* argc, char*** argv) {
  int initialized = 0;
  check_mpi(MPI_Initialized(&initialized), "MPI_Initialized");
  TORCH_CHECK(initialized == 0, "MPI is already initialised: make one MpiEnvironment in main");
  // Else a rank inside a blocking collective spins, and takes the core of the rank it waits for.
  setenv("OMPI_MCA_mpi_yield_when_idle", "1", /*overwrite=*/0);
  // Else a long message over TCP moves only while its receiver is inside a call of MPI, and stands
  // still while a student computes: over 1 Gbit/s that was a quarter of the bandwidth.
  setenv("OMPI_MCA_btl_tcp_progress_thread", "1", /*overwrite=*/0);
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_SELF, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  TORCH_CHECK(provided >= MPI_THREAD_FUNNELED,
              "this MPI library was built without threads (MPI_THREAD_FUNNELED is needed)");
}

MpiEnvironment::~MpiEnvironment() {
  // MPI_Finalize waits for all ranks. With an exception on its way out the others are still at
  // work: mpirun then sees a process that left without finalising, and ends the job.
  if (std::uncaught_exceptions() > 0 || !mpi_running()) return;
  if (Request::live() > 0) {
    std::fprintf(stderr,
                 "temper: warning: %s: %lld message(s) not complete at MPI_Finalize; a Request "
                 "outlived its job\n",
                 this_rank().c_str(), static_cast<long long>(Request::live()));
  }
  const int code = MPI_Finalize();
  if (code != MPI_SUCCESS) {
    std::fprintf(stderr, "%s\n", mpi_error_text(code, "MPI_Finalize", "").c_str());
  }
}

void MpiEnvironment::abort(int exit_code) {
  std::fflush(nullptr);
  if (mpi_running()) MPI_Abort(MPI_COMM_WORLD, exit_code);  // only returns if it failed
  std::_Exit(exit_code);
}

}  // namespace temper
