// Soft targets from the teacher's GPU memory to the student's. This file is compiled and linked on
// every change, and has not run on a GPU yet: no machine of this project has had two.
//
// Each pair has a communicator of two ranks and a stream of its own, so that pairs do not wait for
// each other, and transfers run beside the kernels that compute:
//
//   teacher   compute: [forward n][forward n+1]...     an event after forward n: the transfer waits
//             transfer:          [send n]              an event after send n: the buffer is free
//   student   transfer:          [receive n][copy of the envelope to pinned memory]  event: it is
//   here
//             compute:  [uses slot]                    an event before its next receive: it was
//             read
//
// Credits go as MPI messages (credits.h), so that nothing is sent before its slot is free and
// Note [No deadlock] holds as for the other transports. A receive is started before its credit
// leaves; until the teacher sends, NCCL's receiving kernel of this pair holds a few of the GPU's
// multiprocessors. A message is a group of two transfers: the envelope (its size and header) and
// the payload's whole buffer, since a receive that was started ahead cannot know of a shorter
// micro-batch. The host never waits; who looks (ready(), arrived()) asks NCCL for errors, too.
//
// Note [First transfer]
// ~~~~~~~~~~~~~~~~~~~~~
// NCCL connects the two ends of a pair at its first send and receive, within ncclGroupEnd(), where
// each waits for the other to be there, too. The student's first receive would wait so for a
// teacher that waits for the credit behind it. So a pair is made together with its first transfer,
// a greeting, and make_nccl_pair() returns when that is through. It may wait there: all ranks make
// their pairs in one order (SoftTargetTransports), and of the first that is not made both ranks are
// at it.
//
// Note [Receives ahead]
// ~~~~~~~~~~~~~~~~~~~~~
// A receive that is posted occupies its student's GPU until its message comes, and some calls of
// CUDA wait for all that a GPU does (memory that is freed, a kernel that is loaded when it is first
// used, a page that is pinned). So at any time a student may stand still until all that it has
// granted is here, and none of that may depend on what it does next:
//   - Ids that students write themselves (on-policy, scheduled sampling) are such a thing: their
//     teachers wait for them. nccl_obstacle() in transport_choice.cpp refuses NCCL then.
//   - So are credits of the other students for units that come before a granted one in the
//     teachers' order, where these must first meet this student in a reduction. Student A, at its
//     unit k, has granted up to k + D. Let all students have U micro-batches a step. Units in front
//     of A's m in that order are numbered m or less, since the order goes by (step, micro-batch,
//     student), which is by number; their students grant them at their units k or earlier. These
//     they reach without A's doing more: unit k is in A's step or before it, and A's reductions of
//     earlier steps are done. With unequal numbers of micro-batches a student could have granted
//     units whole steps ahead of the others, who need its reductions to come there: refused, too.
#include "comm/nccl/link.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstring>
#include <deque>
#include <utility>
#include <vector>

#include "comm/activity.h"
#include "comm/credits.h"
#include "comm/mpi/backoff.h"
#include "comm/nccl/comm.h"

namespace temper {
namespace {

constexpr int kUniqueIdTag = 703;
constexpr int kTeacherRank = 0, kStudentRank = 1;  // within the pair

/// What goes ahead of a payload.
struct Envelope {
  int64_t bytes = 0;  // of header and payload
  SoftTargetHeader header;
};
constexpr int64_t kEnvelopeBytes = sizeof(Envelope);

/// What the links of a pair share. Made while its GPU is the current one.
struct Line {
  Line(const Communicator& everyone, int other, const ncclUniqueId& id, bool teaches,
       at::Device gpu)
      : world(everyone),
        peer(other),
        device(gpu),
        stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/true, gpu.index())),
        comm(2, id, teaches ? kTeacherRank : kStudentRank) {
    greet(teaches);
  }

  /// Note [First transfer].
  void greet(bool teaches) {
    const at::Tensor greeting = on_gpu(kEnvelopeBytes);
    CudaEvent made, over;
    made.record(compute());  // whoever had this memory before
    made.block(transfers());
    if (teaches) {
      check_nccl(ncclSend(greeting.const_data_ptr(), kEnvelopeBytes, ncclUint8, kStudentRank,
                          comm.get(), transfers()),
                 "ncclSend", comm.get());
    } else {
      check_nccl(ncclRecv(greeting.data_ptr(), kEnvelopeBytes, ncclUint8, kTeacherRank, comm.get(),
                          transfers()),
                 "ncclRecv", comm.get());
    }
    over.record(transfers());
    const Backoff backoff;
    while (!over.done()) {
      comm.check_async();
      backoff.pause();
    }
  }

  cudaStream_t transfers() const { return stream.stream(); }
  cudaStream_t compute() const { return c10::cuda::getCurrentCUDAStream(device.index()).stream(); }
  at::Tensor on_gpu(int64_t bytes) const {
    return at::empty({bytes}, at::TensorOptions(at::kByte).device(device));  // (bytes)
  }
  static at::Tensor pinned() {
    return at::empty({kEnvelopeBytes},
                     at::TensorOptions(at::kByte).pinned_memory(true));  // (envelope)
  }

  const Communicator& world;
  int peer;
  at::Device device;
  c10::cuda::CUDAStream stream;
  NcclComm comm;
};

class NcclStudentLink : public StudentLink {
 public:
  explicit NcclStudentLink(Line& line) : line_(line), credits_(line.world, line.peer) {}

  ~NcclStudentLink() override {
    // Receives are left only if the student stopped early; their messages may never come.
    if (incoming_.empty()) return;
    credits_.abandon();
    line_.comm.abort();
  }

  void grant(int64_t unit, const at::Tensor& slot) override {
    const c10::cuda::CUDAGuard guard(line_.device);
    Incoming message{slot, line_.on_gpu(kEnvelopeBytes), Line::pinned(), {}, {}};
    message.slot_free.record(line_.compute());
    message.slot_free.block(line_.transfers());
    const size_t payload = slot.nbytes() - static_cast<size_t>(kHeaderBytes);
    char* begin = static_cast<char*>(slot.data_ptr()) + kHeaderBytes;
    ncclComm_t comm = line_.comm.get();
    check_nccl(ncclGroupStart(), "ncclGroupStart", comm);
    check_nccl(ncclRecv(message.envelope.data_ptr(), kEnvelopeBytes, ncclUint8, kTeacherRank, comm,
                        line_.transfers()),
               "ncclRecv", comm);
    check_nccl(ncclRecv(begin, payload, ncclUint8, kTeacherRank, comm, line_.transfers()),
               "ncclRecv", comm);
    check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm);
    check_cuda(cudaMemcpyAsync(message.host.data_ptr(), message.envelope.const_data_ptr(),
                               kEnvelopeBytes, cudaMemcpyDeviceToHost, line_.transfers()),
               "cudaMemcpyAsync");
    message.here.record(line_.transfers());
    credits_.grant({unit, static_cast<int64_t>(slot.nbytes())});
    incoming_.push_back(std::move(message));
  }

  void end() override { credits_.grant(kEndOfCredits); }

  int64_t arrived() override {
    line_.comm.check_async();
    credits_.progress();
    int64_t count = 0;
    for (const Incoming& message : incoming_) {
      if (!message.here.done()) break;
      ++count;
    }
    return count;
  }

  Arrival take() override {
    const c10::cuda::CUDAGuard guard(line_.device);
    Incoming message = std::move(incoming_.front());
    incoming_.pop_front();
    message.here.block(line_.compute());
    Envelope envelope;
    std::memcpy(&envelope, message.host.const_data_ptr(), sizeof envelope);
    const auto wire = kEnvelopeBytes + static_cast<int64_t>(message.slot.nbytes()) - kHeaderBytes;
    return {envelope.header, envelope.bytes, wire, std::move(message.slot)};
  }

 private:
  struct Incoming {
    at::Tensor slot;      // (bytes)
    at::Tensor envelope;  // (envelope) on the GPU
    at::Tensor host;      // (envelope) pinned
    CudaEvent slot_free;  // compute has read what lay in the slot
    CudaEvent here;
  };

  Line& line_;
  CreditOutbox credits_;
  std::deque<Incoming> incoming_;  // granted, not taken
};

class NcclTeacherLink : public TeacherLink {
 public:
  NcclTeacherLink(Line& line, const ChannelConfig& config, int64_t ring)
      : line_(line), credits_(line.world, line.peer) {
    const c10::cuda::CUDAGuard guard(line_.device);  // for the events as well
    ring_.resize(static_cast<size_t>(ring));
    for (Outgoing& message : ring_) {
      message.buffer = make_buffer(config, line_.device);  // (bytes)
      message.envelope = line_.on_gpu(kEnvelopeBytes);
      message.host = Line::pinned();
    }
  }

  ~NcclTeacherLink() override {
    // The buffers go back to LibTorch, which knows nothing of this stream.
    if (std::uncaught_exceptions() > 0) {
      line_.comm.abort();
    } else if (const cudaError_t code = cudaStreamSynchronize(line_.transfers());
               code != cudaSuccess) {
      TORCH_WARN("a stream of soft targets did not end well: ", cudaGetErrorString(code));
    }
  }

  bool ready(int64_t unit) override {
    line_.comm.check_async();
    const auto bytes = static_cast<int64_t>(ring_.front().buffer.nbytes());
    if (!credits_.has(unit, bytes)) {
      ended_ = credits_.ended();
      return false;
    }
    if (acquired_ - published_ == ring_.size()) return false;  // every buffer is being filled
    return ring_[acquired_ % ring_.size()].left.done();
  }

  at::Tensor acquire(int64_t) override {
    return ring_[acquired_++ % ring_.size()].buffer;  // (bytes)
  }

  void publish(const SoftTargetHeader& header, int64_t bytes) override {
    const c10::cuda::CUDAGuard guard(line_.device);
    Outgoing& message = ring_[published_++ % ring_.size()];
    const Envelope envelope{bytes, header};
    std::memcpy(message.host.data_ptr(), &envelope, sizeof envelope);
    message.made.record(line_.compute());
    message.made.block(line_.transfers());
    check_cuda(cudaMemcpyAsync(message.envelope.data_ptr(), message.host.const_data_ptr(),
                               kEnvelopeBytes, cudaMemcpyHostToDevice, line_.transfers()),
               "cudaMemcpyAsync");
    const size_t payload = message.buffer.nbytes() - static_cast<size_t>(kHeaderBytes);
    const char* begin = static_cast<const char*>(message.buffer.const_data_ptr()) + kHeaderBytes;
    ncclComm_t comm = line_.comm.get();
    check_nccl(ncclGroupStart(), "ncclGroupStart", comm);
    check_nccl(ncclSend(message.envelope.const_data_ptr(), kEnvelopeBytes, ncclUint8, kStudentRank,
                        comm, line_.transfers()),
               "ncclSend", comm);
    check_nccl(ncclSend(begin, payload, ncclUint8, kStudentRank, comm, line_.transfers()),
               "ncclSend", comm);
    check_nccl(ncclGroupEnd(), "ncclGroupEnd", comm);
    message.left.record(line_.transfers());
  }

  bool progress() override {
    line_.comm.check_async();
    for (const Outgoing& message : ring_) {
      if (!message.left.done()) return false;
    }
    return true;
  }

 private:
  struct Outgoing {
    at::Tensor buffer;    // (bytes)
    at::Tensor envelope;  // (envelope) on the GPU
    at::Tensor host;      // (envelope) pinned
    CudaEvent made;       // compute has written the buffer
    CudaEvent left;
  };

  Line& line_;
  CreditInbox credits_;
  std::vector<Outgoing> ring_;
  size_t acquired_ = 0, published_ = 0;
};

class NcclPairOfRanks : public NcclPair {
 public:
  NcclPairOfRanks(const Communicator& world, int peer, const ncclUniqueId& id, bool teaches,
                  at::Device device)
      : line_(world, peer, id, teaches, device) {}

  std::unique_ptr<StudentLink> student_link() override {
    return std::make_unique<NcclStudentLink>(line_);
  }
  std::unique_ptr<TeacherLink> teacher_link(const ChannelConfig& config, int64_t ring) override {
    return std::make_unique<NcclTeacherLink>(line_, config, ring);
  }

 private:
  Line line_;
};

}  // namespace

bool nccl_links_available() { return true; }

std::unique_ptr<NcclPair> make_nccl_pair(const Communicator& world, int peer, bool teaches,
                                         at::Device device) {
  const Waiting waiting(Operation::kGroup, peer);
  const c10::cuda::CUDAGuard guard(device);
  ncclUniqueId id{};
  at::Tensor bytes = at::empty({int64_t{sizeof id.internal}}, at::kByte);  // (id)
  if (teaches) {
    check_nccl(ncclGetUniqueId(&id), "ncclGetUniqueId");
    std::memcpy(bytes.data_ptr(), id.internal, sizeof id.internal);
    world.send_async(bytes, peer, kUniqueIdTag).wait();
  } else {
    world.receive_async(bytes, peer, kUniqueIdTag).wait();
    std::memcpy(id.internal, bytes.const_data_ptr(), sizeof id.internal);
  }
  return std::make_unique<NcclPairOfRanks>(world, peer, id, teaches, device);
}

}  // namespace temper
