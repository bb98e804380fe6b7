// Communicator::all_gather: parts of any lengths, one after another in rank order.
#include <c10/util/Exception.h>

#include <numeric>

#include "comm/activity.h"
#include "comm/mpi/check.h"
#include "comm/mpi/communicator.h"

namespace temper {

at::Tensor Communicator::gather_bytes(const void* data, int64_t bytes,
                                      std::vector<int64_t>& lengths) const {
  const Waiting waiting(Operation::kAllGather);
  lengths.assign(static_cast<size_t>(size_), 0);
  check(MPI_Allgather(&bytes, 1, MPI_INT64_T, lengths.data(), 1, MPI_INT64_T, handle_),
        "MPI_Allgather");
  const int64_t total = std::accumulate(lengths.begin(), lengths.end(), int64_t{0});
  at::Tensor all = at::empty({total}, at::kByte);  // (sum of lengths)
  char* begin = static_cast<char*>(all.data_ptr());

  std::vector<int64_t> begins(lengths.size(), 0);
  std::partial_sum(lengths.begin(), lengths.end() - 1, begins.begin() + 1);
  if (total <= piece_bytes_) {
    const std::vector<int> counts(lengths.begin(), lengths.end());
    const std::vector<int> offsets(begins.begin(), begins.end());
    check(MPI_Allgatherv(data, static_cast<int>(bytes), MPI_BYTE, begin, counts.data(),
                         offsets.data(), MPI_BYTE, handle_),
          "MPI_Allgatherv");
    return all;
  }
  // More than MPI's ints can count: each rank broadcasts its own part.
  for (int root = 0; root < size_; ++root) {
    const auto r = static_cast<size_t>(root);
    char* part = begin + begins[r];
    if (root == rank_) std::copy_n(static_cast<const char*>(data), bytes, part);
    broadcast_bytes(part, lengths[r], root);
  }
  return all;
}

std::vector<std::string> Communicator::all_gather(const std::string& mine) const {
  std::vector<int64_t> lengths;
  const at::Tensor all = gather_bytes(mine.data(), static_cast<int64_t>(mine.size()), lengths);
  std::vector<std::string> result;
  const char* begin = static_cast<const char*>(all.const_data_ptr());
  for (const int64_t length : lengths) {
    result.emplace_back(begin, static_cast<size_t>(length));
    begin += length;
  }
  return result;
}

at::Tensor Communicator::all_gather(const at::Tensor& mine) const {
  TORCH_CHECK(mine.defined() && mine.device().is_cpu() && mine.is_contiguous() && mine.dim() == 1,
              "all_gather over MPI needs a contiguous 1-D CPU tensor");
  const auto type = static_cast<int64_t>(mine.scalar_type());
  TORCH_CHECK(all_reduce(type, Reduce::kMax) == all_reduce(type, Reduce::kMin),
              "all_gather: the ranks' tensors differ in dtype (", mine.scalar_type(), " on rank ",
              rank_, ")");
  std::vector<int64_t> lengths;
  return gather_bytes(mine.const_data_ptr(), static_cast<int64_t>(mine.nbytes()), lengths)
      .view(mine.scalar_type());  // (sum of lengths)
}

}  // namespace temper
