// Soft targets over NCCL, from the teacher's GPU memory to the student's, behind the seam of
// soft_target_link.h. In a build without CUDA every function but nccl_links_available() throws.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>

#include "comm/mpi/communicator.h"
#include "comm/soft_target_link.h"

namespace temper {

/// One pair's NCCL communicator and stream. Links of it must go before it.
class NcclPair {
 public:
  virtual ~NcclPair() = default;
  virtual std::unique_ptr<StudentLink> student_link() = 0;
  /// `ring` buffers of the teacher's own, for messages of `config`.
  virtual std::unique_ptr<TeacherLink> teacher_link(const ChannelConfig& config, int64_t ring) = 0;
};

/// True if this build has NCCL.
bool nccl_links_available();

/// A GPU's UUID, which no other GPU in the world has, as bytes.
std::string gpu_uuid(at::Device device);

/// Collective over the two ranks of the pair, who both call it with the other's rank in `world`;
/// `device` is this rank's GPU. Returns when they are connected. `world` must outlive the pair.
std::unique_ptr<NcclPair> make_nccl_pair(const Communicator& world, int peer, bool teaches,
                                         at::Device device);

}  // namespace temper
