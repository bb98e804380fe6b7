// One message under way: its pieces are looked at in the order in which they were posted.
#include "comm/mpi/request.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "comm/activity.h"
#include "comm/mpi/backoff.h"
#include "comm/mpi/check.h"

namespace temper {

Request::Request(std::vector<MPI_Request> pieces, at::Tensor buffer, std::string what)
    : pieces_(std::move(pieces)), buffer_(std::move(buffer)), what_(std::move(what)) {
  if (active()) ++live_;
}

Request::Request(std::vector<MPI_Request> pieces, at::Tensor buffer, std::string what,
                 ReceiveSize size)
    : Request(std::move(pieces), std::move(buffer), std::move(what)) {
  receives_ = true;
  size_ = size;
}

Request::Request(Request&& other) noexcept
    : pieces_(std::exchange(other.pieces_, {})),
      next_(std::exchange(other.next_, 0)),
      buffer_(std::move(other.buffer_)),
      what_(std::move(other.what_)),
      receives_(other.receives_),
      size_(other.size_),
      received_bytes_(std::exchange(other.received_bytes_, 0)) {}

Request& Request::operator=(Request&& other) noexcept {
  if (this != &other) {
    finish();
    pieces_ = std::exchange(other.pieces_, {});
    next_ = std::exchange(other.next_, 0);
    buffer_ = std::move(other.buffer_);
    what_ = std::move(other.what_);
    receives_ = other.receives_;
    size_ = other.size_;
    received_bytes_ = std::exchange(other.received_bytes_, 0);
  }
  return *this;
}

Request::~Request() { finish(); }

void Request::finish() noexcept {
  if (!active()) return;
  if (std::uncaught_exceptions() > 0 || !mpi_running()) return abandon();
  try {
    wait();
  } catch (...) {
    abandon();  // whoever cared for the message would have called wait()
  }
}

void Request::fail(const std::string& message) {
  // Open MPI leaves the request that failed to us. It is complete: nothing to cancel or to wait
  // for.
  if (pieces_[next_] != MPI_REQUEST_NULL) MPI_Request_free(&pieces_[next_]);
  abandon();
  TORCH_CHECK(false, message);
}

bool Request::test() {
  if (!active()) return true;
  for (; next_ < pieces_.size(); ++next_) {
    int done = 0;
    MPI_Status status{};
    const int code = MPI_Test(&pieces_[next_], &done, &status);
    int error_class = MPI_SUCCESS;
    if (code != MPI_SUCCESS) MPI_Error_class(code, &error_class);
    if (error_class != MPI_SUCCESS && !(receives_ && error_class == MPI_ERR_TRUNCATE)) {
      fail(mpi_error_text(code, "MPI_Test", what_));
    }
    if (error_class == MPI_SUCCESS && done == 0) return false;
    if (!receives_) continue;

    const int64_t before = static_cast<int64_t>(next_) * size_.piece_bytes;
    const int64_t expected = std::clamp<int64_t>(size_.bytes - before, 0, size_.piece_bytes);
    int count = 0;
    MPI_Get_count(&status, MPI_BYTE, &count);
    if (error_class == MPI_ERR_TRUNCATE) {
      fail("on " + this_rank() + ": " + what_ + " got a longer message, of " +
           std::to_string(before + std::max<int64_t>(count, expected + 1)) + " bytes" +
           (expected == size_.piece_bytes || count == size_.piece_bytes ? " or more" : ""));
    }
    received_bytes_ += count;
    if (size_.exact && count != expected) {
      fail("on " + this_rank() + ": " + what_ + " got a shorter message, of " +
           std::to_string(received_bytes_) + " bytes");
    }
  }
  pieces_.clear();
  --live_;
  return true;
}

const at::Tensor& Request::wait() {
  const Waiting waiting(Operation::kMessage);
  const Backoff backoff;
  while (!test()) backoff.pause();
  return buffer_;
}

void Request::abandon() noexcept {
  if (!active()) return;
  bool held = false;
  if (mpi_running()) {
    constexpr double kPatienceSeconds = 0.1;
    const Backoff backoff;
    for (size_t i = next_; i < pieces_.size(); ++i) {
      if (pieces_[i] == MPI_REQUEST_NULL) continue;
      if (receives_) MPI_Cancel(&pieces_[i]);
      int done = 0;
      while (MPI_Test(&pieces_[i], &done, MPI_STATUS_IGNORE) == MPI_SUCCESS && done == 0 &&
             backoff.seconds() < kPatienceSeconds) {
        backoff.pause();
      }
      held = held || done == 0;
    }
  }
  // MPI may read or write this memory as long as the process lives: freeing it would be worse than
  // keeping it.
  if (held) {
    new at::Tensor(buffer_);  // NOLINT: kept on purpose
  } else {
    --live_;
  }
  pieces_.clear();
  next_ = 0;
  received_bytes_ = 0;
}

}  // namespace temper
