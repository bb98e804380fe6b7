// Memory that the ranks of one node share: an MPI-3 window that is owned.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <string>

#include "comm/mpi/communicator.h"

namespace temper {

class SharedWindow {
 public:
  /// A segment of `bytes` (0: none) for each rank of `node`, whose ranks share memory
  /// (Communicator::split_node()). Segments begin on pages. Collective. Throws c10::Error if MPI
  /// cannot; ask free_bytes() first, since Open MPI 4.1 may stand still where its file does not
  /// fit.
  SharedWindow(const Communicator& node, int64_t bytes);
  /// Waits for all ranks, without holding a core, and frees the memory: collective. With an
  /// exception on its way the others may not come, and the window is left to the end of the
  /// process.
  ~SharedWindow();
  SharedWindow(const SharedWindow&) = delete;
  SharedWindow& operator=(const SharedWindow&) = delete;

  /// The segment of a rank of the node as this process sees it; nullptr if it has none.
  void* segment(int rank) const;
  /// Makes the pages of this rank's own segment exist. False where the system has no memory left
  /// for them: touching them would end the process. True, too, on kernels before 5.14, which cannot
  /// tell.
  bool reserve() const;

  /// Where Open MPI keeps the memory of windows: a folder of a file system in memory.
  static std::string folder();
  /// What is free there, in bytes; 0 if the folder cannot be asked.
  static int64_t free_bytes();

 private:
  Communicator node_;
  int64_t bytes_;
  MPI_Win window_ = MPI_WIN_NULL;
};

}  // namespace temper
