#include "comm/mpi/shared_window.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <sys/statvfs.h>

#include <cerrno>
#include <cstdlib>
#include <exception>

#include "comm/agree.h"
#include "comm/mpi/check.h"

namespace temper {
namespace {

constexpr int64_t kPage = 4096;
#ifndef MADV_POPULATE_WRITE
constexpr int MADV_POPULATE_WRITE = 23;  // Linux 5.14; older headers do not name it
#endif

/// Left free beside a window: Open MPI has its own there, too.
constexpr int64_t kSpareBytes = int64_t{16} << 20;

std::string mebibytes(int64_t bytes) { return std::to_string((bytes >> 20) + 1) + " MiB"; }

char* next_page(void* pointer) {
  const auto at = reinterpret_cast<uintptr_t>(pointer);
  return reinterpret_cast<char*>((at + kPage - 1) / kPage * kPage);
}

}  // namespace

SharedWindow::SharedWindow(const Communicator& node, int64_t bytes)
    : node_(node.dup()), bytes_(bytes) {
  // Each rank's segment on pages of its own, so that they lie in the memory next to that rank.
  MPI_Info info = MPI_INFO_NULL;
  check_mpi(MPI_Info_create(&info), "MPI_Info_create");
  check_mpi(MPI_Info_set(info, "alloc_shared_noncontig", "true"), "MPI_Info_set");
  void* base = nullptr;
  const MPI_Aint size = bytes > 0 ? bytes + kPage : 0;  // one page more, to begin on a page
  const int code = MPI_Win_allocate_shared(size, 1, info, node_.handle(), &base, &window_);
  MPI_Info_free(&info);
  check_mpi(code, "MPI_Win_allocate_shared", std::to_string(bytes) + " bytes of shared memory");
  check_mpi(MPI_Win_set_errhandler(window_, MPI_ERRORS_RETURN), "MPI_Win_set_errhandler");
  int* model = nullptr;
  int found = 0;
  check_mpi(MPI_Win_get_attr(window_, MPI_WIN_MODEL, &model, &found), "MPI_Win_get_attr");
  TORCH_CHECK(found != 0 && *model == MPI_WIN_UNIFIED,
              "this MPI library keeps copies of shared windows: loads and stores do not meet");
  // The epoch in which loads and stores are allowed; it lasts as long as the window.
  check_mpi(MPI_Win_lock_all(MPI_MODE_NOCHECK, window_), "MPI_Win_lock_all");
}

SharedWindow::~SharedWindow() {
  if (window_ == MPI_WIN_NULL || std::uncaught_exceptions() > 0 || !mpi_running()) return;
  try {
    node_.barrier();
    check_mpi(MPI_Win_unlock_all(window_), "MPI_Win_unlock_all");
    check_mpi(MPI_Win_free(&window_), "MPI_Win_free");
  } catch (const std::exception& error) {
    TORCH_WARN("a window of shared memory did not end well: ", error.what());
  }
}

void* SharedWindow::segment(int rank) const {
  MPI_Aint size = 0;
  int unit = 1;
  void* base = nullptr;
  check_mpi(MPI_Win_shared_query(window_, rank, &size, &unit, &base), "MPI_Win_shared_query");
  return size > 0 ? next_page(base) : nullptr;
}

bool SharedWindow::reserve() const {
  if (bytes_ == 0) return true;
  const auto size = static_cast<size_t>((bytes_ + kPage - 1) / kPage * kPage);
  return madvise(segment(node_.rank()), size, MADV_POPULATE_WRITE) == 0 || errno == EINVAL;
}

std::string SharedWindow::folder() {
  const char* chosen = std::getenv("OMPI_MCA_osc_sm_backing_directory");
  return chosen != nullptr && *chosen != '\0' ? chosen : "/dev/shm";
}

int64_t SharedWindow::free_bytes() {
  struct statvfs file_system {};
  if (statvfs(folder().c_str(), &file_system) != 0) return 0;
  return static_cast<int64_t>(file_system.f_bavail) * static_cast<int64_t>(file_system.f_frsize);
}

std::unique_ptr<SharedWindow> try_shared_window(const Communicator& node, int64_t bytes,
                                                int64_t allowed, const std::string& what,
                                                std::string* trouble) {
  const int64_t needed = node.all_reduce(bytes);
  if (allowed < 0) allowed = SharedWindow::free_bytes();
  allowed = node.all_reduce(allowed, Reduce::kMin);
  trouble->clear();
  if (needed == 0) return nullptr;
  if (needed + kSpareBytes > allowed) {
    *trouble = what + " take " + mebibytes(needed) + " of shared memory and " +
               SharedWindow::folder() + " has " + mebibytes(allowed);
    return nullptr;
  }
  std::unique_ptr<SharedWindow> window;
  std::string error;
  try {
    window = std::make_unique<SharedWindow>(node, bytes);
    if (!window->reserve()) error = "the system has no memory left for it";
  } catch (const c10::Error& failure) {
    error = plain_message(failure);
  }
  for (const std::string& each : node.all_gather(error)) {
    if (trouble->empty() && !each.empty())
      *trouble = what + " cannot share " + mebibytes(needed) + " of memory: " + each;
  }
  if (!trouble->empty()) window.reset();
  return window;
}

}  // namespace temper
