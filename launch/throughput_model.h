// How fast a distillation will run, as a pure function of what one rank can do and of the network.
// temper plan fills in the rates, from a probe or from the user, and prints what comes out.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "comm/payload.h"
#include "comm/placement.h"
#include "launch/memory_model.h"

namespace temper {

/// What a token costs with one payload.
struct PayloadRates {
  Payload payload = Payload::kFull;
  double teacher_seconds = 0;  ///< one teacher rank: trunk, head, encoding
  double student_seconds = 0;  ///< one student rank: forward, loss, backward
  double bytes = 0;            ///< on the wire
  double copy_seconds = 0;     ///< both ranks busy, for a message inside a node; 0: not measured
  DistillSizes sizes;          ///< for the memory; `message` is filled in by predict()
};

/// What does not depend on the payload.
struct ClusterRates {
  double update_seconds = 0;    ///< a step: the gradient's norm and the optimizer
  double gradient_bytes = 0;    ///< of the whole model, on one rank
  double node_bytes_per_s = 0;  ///< bus bandwidth of an all-reduce inside a node; 0: it is free
  double link_bytes_per_s = 0;  ///< a node's link in each direction, goodput; 0: no limit
  double latency_s = 0;         ///< of one message between nodes
};

struct PlanJob {
  int64_t batch = 0;        ///< sequences a step, over all students
  int64_t micro_batch = 0;  ///< 0: a student's whole share
  int64_t seq = 0;
};

/// The roles that distill gives: place(), where `spread` is false (launch.spread) as if all ranks
/// lay on one node, so that the last ranks are the teachers.
Placement planned_placement(int64_t teachers, const std::vector<int>& node_of_rank, bool spread);

/// These roles, node by node, of the nodes that the ranks really lie on; `teachers` 0: colocated,
/// all ranks are students.
std::vector<NodeRoles> node_roles(int64_t teachers, const std::vector<int>& node_of_rank,
                                  bool spread = true);

enum class Bound { kTeachers, kStudents, kNetwork, kLookahead, kColocated };
/// teachers, students, network, lookahead, colocated.
const char* bound_name(Bound bound);

struct Prediction {
  Payload payload = Payload::kFull;
  int64_t teachers = 0;  ///< 0: colocated
  int64_t students = 0;
  int64_t lookahead = 0;
  double tokens_per_s = 0;
  Bound bound = Bound::kTeachers;
  double teachers_tokens_per_s = 0;  ///< of all teachers, if nothing else held them up
  double students_tokens_per_s = 0;  ///< of all students, reduction and update included
  double network_tokens_per_s = 0;   ///< of the busiest node's link; 0: no limit
  double bytes_per_token = 0;        ///< as received by students; 0 where colocated
  double node_bytes_per_s = 0;       ///< the busiest link, in its busier direction, at tokens_per_s
  double needed_bytes_per_s = 0;     ///< the same, if the network were no limit
  double reduce_seconds = 0;         ///< of a step
  double wait_teacher = 0;           ///< share of the students' time spent waiting for teachers
  double wait_student = 0;           ///< share of the teachers' time spent waiting for students
  RankMemory memory;
};

/// Throughput by operational bounds (Denning and Buzen, Computing Surveys 10(3), 1978). A step of
/// B·S tokens lasts as long as the busiest of
///
///   a teacher    B·S/M · teacher_seconds                 (teachers take turns: all have the same)
///   a student    rows·S · student_seconds + reduction + update,   rows = ceil(B / N)
///   a link       soft targets of other nodes and the ring all-reduce's 2 (N - 1)/N · gradient,
///                the busier direction of the busiest node
///   the stream   (U · (t_T + m + t_S) + reduction + update) / (D + 1)
///
/// where the last is the time that a student's U micro-batches take through teacher (t_T), message
/// (m) and student (t_S), shared by the D + 1 buffers that go round between them. Inside a node a
/// message also keeps both its ranks busy (copy_seconds). Without lookahead (D = 0) nothing
/// overlaps: the times add, and students beyond the first of a teacher wait for their turn. Each
/// student hears from all teachers equally (Placement::teacher_of), so a share 1 - M_k/M of what
/// students on node k receive comes over the link; nothing does where nodes are in_proportion().
///
/// Jitter, contention for memory that the rates do not contain, and what the run does beside
/// training (checkpoints, evaluation) are left out.
Prediction predict(const PayloadRates& payload, const ClusterRates& cluster, const PlanJob& job,
                   const std::vector<NodeRoles>& nodes, int64_t lookahead);

/// The lookahead to choose: the smallest D >= 1 with which the stream's bound does not hold the job
/// up (so that the buffers on their way cover a teacher's micro-batch, its message and the pause of
/// reduction and update), plus one for jitter. At most kMostLookahead.
int64_t recommended_lookahead(const PayloadRates& payload, const ClusterRates& cluster,
                              const PlanJob& job, const std::vector<NodeRoles>& nodes);
inline constexpr int64_t kMostLookahead = 64;

/// Numbers of teachers worth a look for `ranks` ranks: all of 1 .. ranks - 1 where these are few,
/// else an even spread and the balanced splits of the payloads.
std::vector<int64_t> splits(int64_t ranks, const std::vector<PayloadRates>& payloads);

/// Index of the prediction to recommend: the fastest that fits into `memory_bytes` a rank (0: no
/// limit); among those within kAlike of it an exact payload before a sampled one before topk, a
/// split before colocated, then fewer bytes on the busiest link. -1 where none fits.
int64_t recommend(const std::vector<Prediction>& predictions, double memory_bytes);
inline constexpr double kAlike = 0.03;

/// Why, for a person: "teachers are the bottleneck: students wait 35% of the time", "network-bound:
/// full needs 6.1 Gbit/s of 0.94".
std::string reason(const Prediction& prediction, const ClusterRates& cluster);

/// "0.94", "6.1", "25": Gbit/s of so many bytes a second.
std::string gbit_text(double bytes_per_s);

}  // namespace temper
