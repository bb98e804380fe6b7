// The life of MPI in this process: initialised by the constructor, finalised by the destructor.
#pragma once

namespace temper {

class MpiEnvironment {
 public:
  /// MPI_Init_thread with MPI_THREAD_FUNNELED (all MPI calls come from the main thread). Ranks that
  /// wait give their core away (Open MPI's mpi_yield_when_idle), unless the user has set that
  /// variable. Works without mpirun (a world of one). Throws c10::Error if MPI cannot start.
  MpiEnvironment(int* argc, char*** argv);
  /// Finalises, unless the process is leaving by abort(). A line on standard error says if messages
  /// were still under way (Request::live()).
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

  /// Ends every rank of the job with this exit code; does not return. The caller has said why.
  [[noreturn]] static void abort(int exit_code);
};

}  // namespace temper
