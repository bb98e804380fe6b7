// Memory that the ranks of one node share: an MPI-3 window that is owned.
#pragma once

#include <mpi.h>

#include <cstdint>
#include <memory>
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

/// A window with a segment of `bytes` for each rank of `node`, its memory reserved; null, with the
/// reason in `trouble`, on all ranks of the node where it would take more than `allowed` bytes (the
/// least of the ranks' counts; less than 0: what is free) or where one of them fails. `what` it is
/// for begins the reason. Collective over `node`.
std::unique_ptr<SharedWindow> try_shared_window(const Communicator& node, int64_t bytes,
                                                int64_t allowed, const std::string& what,
                                                std::string* trouble);

}  // namespace temper
