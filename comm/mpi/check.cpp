// Checked MPI calls: the text of their errors. Nothing here may throw on top of the error it
// describes.
#include "comm/mpi/check.h"

#include <c10/util/Exception.h>
#include <mpi.h>

namespace temper {

bool mpi_running() {
  int initialized = 0;
  int finalized = 0;
  return MPI_Initialized(&initialized) == MPI_SUCCESS && initialized != 0 &&
         MPI_Finalized(&finalized) == MPI_SUCCESS && finalized == 0;
}

std::string this_rank() {
  if (!mpi_running()) return "a process outside MPI";
  int rank = -1;
  char host[MPI_MAX_PROCESSOR_NAME] = "unknown host";
  int length = 0;
  if (MPI_Comm_rank(MPI_COMM_WORLD, &rank) != MPI_SUCCESS) rank = -1;
  if (MPI_Get_processor_name(host, &length) != MPI_SUCCESS) length = 0;
  return "rank " + std::to_string(rank) + " (" + std::string(host) + ")";
}

std::string mpi_error_text(int code, const char* call, const std::string& about) {
  char text[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  std::string reason = "error code " + std::to_string(code);
  if (mpi_running() && MPI_Error_string(code, text, &length) == MPI_SUCCESS) {
    reason = std::string(text, static_cast<size_t>(length));
  }
  return std::string(call) + " failed on " + this_rank() + ": " + reason +
         (about.empty() ? "" : " (" + about + ")");
}

void check_mpi(int code, const char* call, const std::string& about) {
  TORCH_CHECK(code == MPI_SUCCESS, mpi_error_text(code, call, about));
}

}  // namespace temper
