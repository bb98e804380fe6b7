// An MPI communicator that is owned: freed by its destructor, moved but not copied. Every call is
// checked; errors carry the call, MPI's text, rank and host.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <cstdint>
#include <string>
#include <vector>

#include "comm/mpi/request.h"

namespace temper {

enum class Reduce { kSum, kMax, kMin };

class Communicator {
 public:
  /// A duplicate of MPI_COMM_WORLD, so that our messages never meet those of another library.
  /// Collective.
  static Communicator world();
  /// This process alone.
  static Communicator self();

  Communicator(Communicator&&) noexcept;
  Communicator& operator=(Communicator&&) noexcept;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;
  ~Communicator();

  int rank() const { return rank_; }
  int size() const { return size_; }
  MPI_Comm handle() const { return handle_; }

  /// New communicators, one per color, ranks ordered by (key, rank). Collective. Every rank belongs
  /// to one (color ≥ 0).
  Communicator split(int color, int key) const;
  /// The ranks that share this node's memory (MPI_COMM_TYPE_SHARED), in rank order. Collective.
  Communicator split_node() const;
  Communicator dup() const;

  // Point to point, on contiguous CPU tensors of any dtype; messages of any size (cut below 2^31
  // bytes each). The receiver's tensor has exactly the sender's size in bytes: anything else is an
  // error that names both, and should end the job: Open MPI 4.1 writes a message that is too long,
  // and more than a few KB, past the buffer's end before it says so.
  Request send_async(at::Tensor tensor, int to, int tag) const;
  Request receive_async(at::Tensor tensor, int from, int tag) const;

  /// The first `bytes` of a uint8 buffer (n). The receiver calls receive_part_async() with a buffer
  /// of the same size n; Request::bytes() then says how many came.
  Request send_part_async(at::Tensor buffer, int64_t bytes, int to, int tag) const;
  Request receive_part_async(at::Tensor buffer, int from, int tag) const;

  // Collectives, on contiguous CPU tensors of dtype float32, float64, int32, int64 (all_reduce) or
  // any (broadcast). Collective.
  void all_reduce(const at::Tensor& tensor, Reduce op = Reduce::kSum) const;  // in place
  void broadcast(const at::Tensor& tensor, int root) const;                   // in place
  double all_reduce(double value, Reduce op = Reduce::kSum) const;
  int64_t all_reduce(int64_t value, Reduce op = Reduce::kSum) const;
  /// One string of each rank, in rank order. Collective.
  std::vector<std::string> all_gather(const std::string& mine) const;
  /// The root's string. Collective.
  std::string broadcast(const std::string& text, int root) const;
  /// The ranks' 1-D tensors (of any lengths, one dtype) one after another in rank order, on every
  /// rank. Collective.
  at::Tensor all_gather(const at::Tensor& mine) const;
  /// Waits for all without holding a core: may last as long as another role's whole stage.
  /// Collective.
  void barrier() const;
  /// The same without waiting: the request is complete once every rank has called this. Collective.
  Request barrier_async() const;

  /// Largest piece of a message, in bytes; both ends must have the same. dup() and split() hand it
  /// on. For tests.
  void set_piece_bytes(int64_t piece_bytes);
  static constexpr int64_t kMaxPieceBytes = int64_t{1} << 30;

 private:
  /// Takes ownership of `handle`.
  Communicator(MPI_Comm handle, int64_t piece_bytes);
  void free() noexcept;
  void check(int code, const char* call) const;
  Request start_send(at::Tensor tensor, int64_t bytes, int to, int tag) const;
  Request start_receive(at::Tensor tensor, bool exact, int from, int tag) const;
  void broadcast_bytes(void* data, int64_t bytes, int root) const;
  at::Tensor gather_bytes(const void* data, int64_t bytes, std::vector<int64_t>& lengths) const;

  MPI_Comm handle_ = MPI_COMM_NULL;
  int64_t piece_bytes_ = kMaxPieceBytes;
  int rank_ = 0;
  int size_ = 1;
};

}  // namespace temper
