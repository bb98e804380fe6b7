// Every MPI call goes through here: an error names the call, MPI's own text, the rank and the host.
#pragma once

#include <string>

namespace temper {

/// Throws c10::Error unless `code` is MPI_SUCCESS. `call` is the function's name; `about` says what
/// it was doing.
void check_mpi(int code, const char* call, const std::string& about = "");

/// The text of such an error: "MPI_Irecv failed on rank 2 (host): MPI_ERR_...: ... (about)".
std::string mpi_error_text(int code, const char* call, const std::string& about);

/// True between MPI_Init and MPI_Finalize: only then may a destructor still call MPI.
bool mpi_running();

/// "rank 2 (host)", by MPI_COMM_WORLD.
std::string this_rank();

}  // namespace temper
