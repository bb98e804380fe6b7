// Groups of ranks, point-to-point messages and reductions over MPI.
#include "comm/mpi/communicator.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <exception>
#include <utility>

#include "comm/activity.h"
#include "comm/mpi/check.h"

// Note [Pieces]
// ~~~~~~~~~~~~~
// MPI's counts are ints, so a message of n bytes travels as n / L + 1 pieces (L: piece_bytes_, at
// most 2^30): full ones, and a last one that is shorter than L, empty if need be. Small messages,
// nearly all, are one piece. The short last piece makes a message end by itself: where the two
// sides disagree about n, the first piece that differs is too short or too long and the receiver
// says so, instead of waiting for a piece that never comes. A message that fills only a part of its
// buffer (*_part_*) sends the piece count of the whole buffer, the last ones empty, so that the
// receiver can post its receives ahead. The pieces of one pair and tag never overtake each other:
// MPI promises that.

namespace temper {
namespace {

MPI_Datatype mpi_type(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return MPI_FLOAT;
    case at::kDouble:
      return MPI_DOUBLE;
    case at::kInt:
      return MPI_INT32_T;
    case at::kLong:
      return MPI_INT64_T;
    default:
      TORCH_CHECK(false, "all_reduce takes float32, float64, int32 or int64, not ", type);
  }
}

MPI_Op mpi_op(Reduce op) {
  switch (op) {
    case Reduce::kSum:
      return MPI_SUM;
    case Reduce::kMax:
      return MPI_MAX;
    case Reduce::kMin:
      return MPI_MIN;
  }
  TORCH_INTERNAL_ASSERT(false);
}

void check_tensor(const at::Tensor& tensor, const char* call) {
  TORCH_CHECK(tensor.defined() && tensor.device().is_cpu() && tensor.is_contiguous(), call,
              " over MPI needs a contiguous CPU tensor");
}

std::string describe(const char* verb, int64_t bytes, const char* preposition, int peer, int tag) {
  return std::string(verb) + " of " + std::to_string(bytes) + " bytes " + preposition + " rank " +
         std::to_string(peer) + ", tag " + std::to_string(tag);
}

}  // namespace

Communicator::Communicator(MPI_Comm handle, int64_t piece_bytes)
    : handle_(handle), piece_bytes_(piece_bytes) {
  check_mpi(MPI_Comm_set_errhandler(handle_, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(handle_, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(handle_, &size_), "MPI_Comm_size");
}

Communicator Communicator::world() {
  MPI_Comm handle = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_WORLD, &handle), "MPI_Comm_dup");
  return Communicator(handle, kMaxPieceBytes);
}

Communicator Communicator::self() {
  MPI_Comm handle = MPI_COMM_NULL;
  check_mpi(MPI_Comm_dup(MPI_COMM_SELF, &handle), "MPI_Comm_dup");
  return Communicator(handle, kMaxPieceBytes);
}

Communicator::Communicator(Communicator&& other) noexcept
    : handle_(std::exchange(other.handle_, MPI_COMM_NULL)),
      piece_bytes_(other.piece_bytes_),
      rank_(other.rank_),
      size_(other.size_) {}

Communicator& Communicator::operator=(Communicator&& other) noexcept {
  if (this != &other) {
    free();
    handle_ = std::exchange(other.handle_, MPI_COMM_NULL);
    piece_bytes_ = other.piece_bytes_;
    rank_ = other.rank_;
    size_ = other.size_;
  }
  return *this;
}

Communicator::~Communicator() { free(); }

void Communicator::free() noexcept {
  // MPI_Comm_free is collective: with an exception on its way the other ranks will not come.
  if (handle_ == MPI_COMM_NULL || std::uncaught_exceptions() > 0 || !mpi_running()) return;
  MPI_Comm_free(&handle_);
  handle_ = MPI_COMM_NULL;
}

void Communicator::check(int code, const char* call) const {
  if (code == MPI_SUCCESS) return;
  check_mpi(code, call,
            "rank " + std::to_string(rank_) + " of " + std::to_string(size_) + " in this group");
}

Communicator Communicator::split(int color, int key) const {
  TORCH_CHECK(color >= 0, "split() needs a color of 0 or more, not ", color);
  const Waiting waiting(Operation::kGroup);
  MPI_Comm handle = MPI_COMM_NULL;
  check(MPI_Comm_split(handle_, color, key, &handle), "MPI_Comm_split");
  return Communicator(handle, piece_bytes_);
}

Communicator Communicator::split_node() const {
  const Waiting waiting(Operation::kGroup);
  MPI_Comm handle = MPI_COMM_NULL;
  check(MPI_Comm_split_type(handle_, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &handle),
        "MPI_Comm_split_type");
  return Communicator(handle, piece_bytes_);
}

Communicator Communicator::dup() const {
  const Waiting waiting(Operation::kGroup);
  MPI_Comm handle = MPI_COMM_NULL;
  check(MPI_Comm_dup(handle_, &handle), "MPI_Comm_dup");
  return Communicator(handle, piece_bytes_);
}

void Communicator::set_piece_bytes(int64_t piece_bytes) {
  TORCH_CHECK(piece_bytes >= 8 && piece_bytes <= kMaxPieceBytes, "pieces of ", piece_bytes,
              " bytes: must be 8 to 2^30");
  piece_bytes_ = piece_bytes;
}

Request Communicator::start_send(at::Tensor tensor, int64_t bytes, int to, int tag) const {
  std::string what = describe("send", bytes, "to", to, tag);
  const int64_t capacity = static_cast<int64_t>(tensor.nbytes());
  const char* data = static_cast<const char*>(tensor.const_data_ptr());
  std::vector<MPI_Request> pieces;
  for (int64_t begin = 0; begin <= capacity; begin += piece_bytes_) {
    const auto count = static_cast<int>(std::clamp<int64_t>(bytes - begin, 0, piece_bytes_));
    pieces.push_back(MPI_REQUEST_NULL);
    check_mpi(MPI_Isend(data + (count > 0 ? begin : 0), count, MPI_BYTE, to, tag, handle_,
                        &pieces.back()),
              "MPI_Isend", what);
  }
  return Request(std::move(pieces), std::move(tensor), std::move(what));
}

Request Communicator::start_receive(at::Tensor tensor, bool exact, int from, int tag) const {
  const int64_t capacity = static_cast<int64_t>(tensor.nbytes());
  std::string what = describe("receive", capacity, "from", from, tag);
  char* data = static_cast<char*>(tensor.data_ptr());
  std::vector<MPI_Request> pieces;
  for (int64_t begin = 0; begin <= capacity; begin += piece_bytes_) {
    const auto count = static_cast<int>(std::min(capacity - begin, piece_bytes_));
    pieces.push_back(MPI_REQUEST_NULL);
    check_mpi(MPI_Irecv(data + begin, count, MPI_BYTE, from, tag, handle_, &pieces.back()),
              "MPI_Irecv", what);
  }
  return Request(std::move(pieces), std::move(tensor), std::move(what),
                 {.piece_bytes = piece_bytes_, .bytes = capacity, .exact = exact});
}

Request Communicator::send_async(at::Tensor tensor, int to, int tag) const {
  check_tensor(tensor, "send_async");
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  return start_send(std::move(tensor), bytes, to, tag);
}

Request Communicator::receive_async(at::Tensor tensor, int from, int tag) const {
  check_tensor(tensor, "receive_async");
  return start_receive(std::move(tensor), /*exact=*/true, from, tag);
}

Request Communicator::send_part_async(at::Tensor buffer, int64_t bytes, int to, int tag) const {
  check_tensor(buffer, "send_part_async");
  TORCH_CHECK(bytes >= 0 && bytes <= static_cast<int64_t>(buffer.nbytes()), "send_part_async of ",
              bytes, " bytes from a buffer of ", buffer.nbytes());
  return start_send(std::move(buffer), bytes, to, tag);
}

Request Communicator::receive_part_async(at::Tensor buffer, int from, int tag) const {
  check_tensor(buffer, "receive_part_async");
  return start_receive(std::move(buffer), /*exact=*/false, from, tag);
}

void Communicator::all_reduce(const at::Tensor& tensor, Reduce op) const {
  check_tensor(tensor, "all_reduce");
  const Waiting waiting(Operation::kAllReduce);
  const MPI_Datatype type = mpi_type(tensor.scalar_type());
  const int64_t width = tensor.element_size();
  const int64_t step = piece_bytes_ / width;
  char* data = static_cast<char*>(tensor.data_ptr());
  for (int64_t begin = 0; begin < tensor.numel(); begin += step) {
    const auto count = static_cast<int>(std::min(tensor.numel() - begin, step));
    check(MPI_Allreduce(MPI_IN_PLACE, data + begin * width, count, type, mpi_op(op), handle_),
          "MPI_Allreduce");
  }
}

void Communicator::broadcast(const at::Tensor& tensor, int root) const {
  check_tensor(tensor, "broadcast");
  broadcast_bytes(tensor.data_ptr(), static_cast<int64_t>(tensor.nbytes()), root);
}

void Communicator::broadcast_bytes(void* data, int64_t bytes, int root) const {
  const Waiting waiting(Operation::kBroadcast);
  for (int64_t begin = 0; begin < bytes; begin += piece_bytes_) {
    const auto count = static_cast<int>(std::min(bytes - begin, piece_bytes_));
    check(MPI_Bcast(static_cast<char*>(data) + begin, count, MPI_BYTE, root, handle_), "MPI_Bcast");
  }
}

double Communicator::all_reduce(double value, Reduce op) const {
  const Waiting waiting(Operation::kAllReduce);
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_DOUBLE, mpi_op(op), handle_), "MPI_Allreduce");
  return value;
}

int64_t Communicator::all_reduce(int64_t value, Reduce op) const {
  const Waiting waiting(Operation::kAllReduce);
  check(MPI_Allreduce(MPI_IN_PLACE, &value, 1, MPI_INT64_T, mpi_op(op), handle_), "MPI_Allreduce");
  return value;
}

std::string Communicator::broadcast(const std::string& text, int root) const {
  const Waiting waiting(Operation::kBroadcast);
  int64_t length = static_cast<int64_t>(text.size());
  broadcast_bytes(&length, sizeof length, root);
  std::string result = rank_ == root ? text : std::string(static_cast<size_t>(length), '\0');
  broadcast_bytes(result.data(), length, root);
  return result;
}

// MPI_Barrier would spin or at best yield; this one sleeps.
void Communicator::barrier() const {
  const Waiting waiting(Operation::kBarrier);
  barrier_async().wait();
}

Request Communicator::barrier_async() const {
  std::vector<MPI_Request> request(1, MPI_REQUEST_NULL);
  check(MPI_Ibarrier(handle_, &request[0]), "MPI_Ibarrier");
  return {std::move(request), at::Tensor(), "barrier"};
}

}  // namespace temper
