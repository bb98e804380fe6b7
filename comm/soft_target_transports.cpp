#include "comm/soft_target_transports.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <map>
#include <optional>
#include <utility>

#include "comm/agree.h"
#include "comm/gpus.h"
#include "comm/message_link.h"
#include "comm/mpi/shared_window.h"
#include "comm/nccl/link.h"
#include "comm/shared_link.h"
#include "comm/transport_choice.h"

namespace temper {

struct SoftTargetTransports::Impl {
  const Communicator& world;
  Placement placement;
  ChannelConfig config;
  TransportOptions options;
  TransportChoice choice;
  std::string note;
  std::optional<Communicator> node;               // the ranks of this node
  std::unique_ptr<SharedWindow> window;           // where this node has shared pairs
  std::vector<int> node_rank;                     // of every world rank within its node
  std::map<int, std::unique_ptr<NcclPair>> nccl;  // by the peer's index in its role

  Impl(const Communicator& comm, Placement roles, ChannelConfig channel,
       const TransportOptions& transport)
      : world(comm), placement(std::move(roles)), config(channel), options(transport) {
    validate(config);
    TORCH_CHECK(!placement.colocated(), "a colocated job has no pairs of teacher and student");
    if (options.node_of_rank.empty())
      options.node_of_rank.assign(static_cast<size_t>(world.size()), 0);
    choose();
    share_memory();
    open_nccl();
  }

  bool teaches() const { return placement.is_teacher(world.rank()); }
  bool learns() const {
    const std::vector<int>& students = placement.students;
    return std::find(students.begin(), students.end(), world.rank()) != students.end();
  }
  int me() const { return placement.role_index(world.rank()); }
  int nodes() const {
    return 1 + *std::max_element(options.node_of_rank.begin(), options.node_of_rank.end());
  }
  int64_t slots() const { return config.lookahead + 1; }
  int64_t teachers() const { return static_cast<int64_t>(placement.teachers.size()); }
  RingShape shape() const { return {buffer_bytes(config), slots(), teachers()}; }

  bool shares_memory(int student) const {
    for (int teacher = 0; teacher < teachers(); ++teacher) {
      if (choice.of(teacher, student) == Transport::kShared) return true;
    }
    return false;
  }

  void choose() {
    const TransportFacts facts{.node = options.node_of_rank,
                               .gpu = gpus_of_ranks(world, options.device),
                               .nccl = nccl_links_available(),
                               .students_write = options.students_write,
                               .equal_units = options.equal_units};
    agree(world,
          [&] { choice = choose_transports(placement, config.payload.kind, options.wish, facts); });
    note = choice.note();
  }

  /// Lays the rings of the students that share memory with a teacher into a window of the node, or
  /// goes back to messages.
  void share_memory() {
    if (!choice.uses(Transport::kShared)) return;
    const auto my_node =
        static_cast<size_t>(options.node_of_rank[static_cast<size_t>(world.rank())]);
    node.emplace(world.split(static_cast<int>(my_node), world.rank()));
    const bool has_ring = learns() && shares_memory(me());
    const int64_t bytes = has_ring ? SharedRing::bytes(shape()) : 0;
    std::string trouble;
    window = try_shared_window(*node, bytes, options.shared_bytes,
                               "the rings of node " + std::to_string(my_node), &trouble);
    if (window && has_ring) SharedRing::create(window->segment(node->rank()), shape());
    // Every rank hears how it went on every node.
    const std::vector<std::string> troubles = world.all_gather(trouble);
    std::vector<bool> shares(static_cast<size_t>(nodes()), true);
    for (size_t rank = 0; rank < troubles.size(); ++rank) {
      if (troubles[rank].empty()) continue;
      if (note.empty()) note = troubles[rank];
      shares[static_cast<size_t>(options.node_of_rank[rank])] = false;
    }
    agree(world, [&] {
      TORCH_CHECK_VALUE(note.empty() || options.wish != Transport::kShared,
                        "--teacher.transport shared: ", note,
                        "; lower --teacher.lookahead or --train.micro-batch, give that file system "
                        "more, or let --teacher.transport auto take messages");
    });
    if (!note.empty()) note += ": messages carry its soft targets instead";
    choice.leave_shared_memory(shares, placement, options.node_of_rank);
    node_rank.assign(static_cast<size_t>(world.size()), 0);
    std::vector<int> count(static_cast<size_t>(nodes()), 0);
    for (size_t rank = 0; rank < node_rank.size(); ++rank)
      node_rank[rank] = count[static_cast<size_t>(options.node_of_rank[rank])]++;
  }

  /// A communicator for each pair of this rank. All ranks go through the pairs in the same order,
  /// so that the two of a pair meet and nobody waits in a circle.
  void open_nccl() {
    if (!choice.uses(Transport::kNccl)) return;
    for (int teacher = 0; teacher < teachers(); ++teacher) {
      const int teacher_rank = placement.teachers[static_cast<size_t>(teacher)];
      for (int student = 0; student < static_cast<int>(placement.students.size()); ++student) {
        const int student_rank = placement.students[static_cast<size_t>(student)];
        if (!placement.serves(teacher_rank, student)) continue;
        if (world.rank() == teacher_rank)
          nccl[student] = make_nccl_pair(world, student_rank, /*teaches=*/true, options.device);
        if (world.rank() == student_rank)
          nccl[teacher] = make_nccl_pair(world, teacher_rank, /*teaches=*/false, options.device);
      }
    }
  }

  SharedRing ring_of(int student) const {
    const auto rank = static_cast<size_t>(placement.students[static_cast<size_t>(student)]);
    return SharedRing::open(window->segment(node_rank[rank]));
  }
};

SoftTargetTransports::SoftTargetTransports(const Communicator& world, Placement placement,
                                           ChannelConfig config, const TransportOptions& options)
    : impl_(std::make_unique<Impl>(world, std::move(placement), config, options)) {}

SoftTargetTransports::~SoftTargetTransports() = default;

const Communicator& SoftTargetTransports::world() const { return impl_->world; }
const Placement& SoftTargetTransports::placement() const { return impl_->placement; }
const ChannelConfig& SoftTargetTransports::config() const { return impl_->config; }
const std::string& SoftTargetTransports::note() const { return impl_->note; }
std::string SoftTargetTransports::describe() const { return impl_->choice.describe(); }

Transport SoftTargetTransports::of(int teacher, int student) const {
  return impl_->choice.of(teacher, student);
}

std::vector<at::Tensor> SoftTargetTransports::ring() const {
  const Impl& own = *impl_;
  const int student = own.me();
  std::vector<at::Tensor> buffers;
  for (int64_t i = 0; i < own.slots(); ++i) {
    const bool on_gpu = own.choice.uses(Transport::kNccl);
    buffers.push_back(
        own.window && own.shares_memory(student)
            ? own.ring_of(student).slot_tensor(i)
            : make_buffer(own.config, on_gpu ? own.options.device : at::kCPU));  // (bytes)
  }
  return buffers;
}

std::unique_ptr<StudentLink> SoftTargetTransports::student_link(int teacher) const {
  const Impl& own = *impl_;
  const int student = own.me();
  switch (of(teacher, student)) {
    case Transport::kShared:
      return make_shared_student_link(own.ring_of(student), teacher);
    case Transport::kNccl:
      return own.nccl.at(teacher)->student_link();
    default:
      return make_message_student_link(own.world,
                                       own.placement.teachers[static_cast<size_t>(teacher)]);
  }
}

std::unique_ptr<TeacherLink> SoftTargetTransports::teacher_link(int student) const {
  const Impl& own = *impl_;
  const int teacher = own.me();
  const int student_rank = own.placement.students[static_cast<size_t>(student)];
  const int64_t turns = own.placement.teachers_of(student);
  const int64_t ring = (own.config.lookahead + turns) / turns;  // ceil((D + 1) / M)
  switch (of(teacher, student)) {
    case Transport::kShared:
      return make_shared_teacher_link(own.ring_of(student), teacher, buffer_bytes(own.config),
                                      student_rank);
    case Transport::kNccl:
      return own.nccl.at(student)->teacher_link(own.config, ring);
    default:
      return make_message_teacher_link(own.world, student_rank, own.config, ring);
  }
}

}  // namespace temper
