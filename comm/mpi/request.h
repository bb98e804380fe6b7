// A message under way. It owns the buffer, so that the memory cannot go before the message has.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <cstdint>
#include <string>
#include <vector>

namespace temper {

/// How a Request that receives judges what came. See Note [Pieces] in communicator.cpp.
struct ReceiveSize {
  int64_t piece_bytes = 0;  ///< all pieces but the last carry this much
  int64_t bytes = 0;        ///< of the whole message
  bool exact = true;        ///< false: a shorter message is fine, bytes() says how long it was
};

class Request {
 public:
  Request() = default;
  /// Takes the MPI requests of one message (large ones are cut into pieces) and the tensor they
  /// read.
  Request(std::vector<MPI_Request> pieces, at::Tensor buffer, std::string what);
  /// The same for a message that is received into `buffer`.
  Request(std::vector<MPI_Request> pieces, at::Tensor buffer, std::string what, ReceiveSize size);
  Request(Request&&) noexcept;
  Request& operator=(Request&&) noexcept;
  Request(const Request&) = delete;
  Request& operator=(const Request&) = delete;
  /// Waits for a message that is still under way: its buffer may not be freed before. While an
  /// exception unwinds the stack it gives up instead (abandon()): the peer may never answer, and
  /// the job is about to be aborted.
  ~Request();

  /// True once the message is complete (then the buffer may be used); harmless after that. Throws
  /// c10::Error if MPI failed or a message of another size came; the request is given up then.
  bool test();
  /// Waits; yields the core while nothing comes (first spinning, then sleeping 50 µs at a time).
  /// Harmless when complete. Returns the buffer.
  const at::Tensor& wait();
  bool active() const { return !pieces_.empty(); }
  const at::Tensor& buffer() const { return buffer_; }
  /// Bytes that came; 0 until complete, and for sends.
  int64_t bytes() const { return active() ? 0 : received_bytes_; }
  /// Gives up a message that may never come or go: cancels receives; where MPI still holds the
  /// buffer after that, the buffer is left to it for the rest of the process.
  void abandon() noexcept;

  /// Messages of this process that are under way, or that abandon() had to leave to MPI: none when
  /// MPI is finalised, or somebody forgot one.
  static int64_t live() { return live_; }

 private:
  void finish() noexcept;
  [[noreturn]] void fail(const std::string& message);

  std::vector<MPI_Request> pieces_;  // empty: complete
  size_t next_ = 0;                  // the first piece that is not complete
  at::Tensor buffer_;
  std::string what_;  // for messages of errors
  bool receives_ = false;
  ReceiveSize size_;
  int64_t received_bytes_ = 0;
  static inline int64_t live_ = 0;  // MPI's own state is the process's, too; one thread calls it
};

}  // namespace temper
