#include "launch/throughput_model.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "launch/progress.h"

namespace temper {

namespace {

int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// The parts of a step that predict() and recommended_lookahead() both need, in seconds.
struct StepTimes {
  int64_t teachers = 0, students = 0;
  double units = 0;         // micro-batches of the student with most rows
  double message_rows = 0;  // of the largest micro-batch
  double teacher = 0;       // busy time of a teacher
  double student = 0;       // busy time of a student, pause included
  double link = 0;          // busy time of the busiest link
  double gradient = 0;      // bytes of the reduction on a link, in each direction
  double soft = 0;          // bytes of soft targets on the busiest link
  double reduce = 0;
  double pause = 0;         // reduction and update: the student consumes nothing
  double unit_teacher = 0;  // t_T with its copy
  double unit_message = 0;  // m between nodes
  double unit_student = 0;  // t_S with its copy
  double unit_copy = 0;     // the part of each that is the copy

  /// A student's buffers once round, without sharing.
  double round() const {
    return units * (unit_teacher + unit_message + unit_student - unit_copy) + pause;
  }
  double busiest() const { return std::max({teacher, student, link}); }
};

StepTimes step_times(const PayloadRates& payload, const ClusterRates& cluster, const PlanJob& job,
                     const std::vector<NodeRoles>& nodes) {
  StepTimes times;
  int64_t nodes_with_students = 0;
  for (const NodeRoles& node : nodes) {
    times.teachers += node.teachers;
    times.students += node.students;
    if (node.students > 0) ++nodes_with_students;
  }
  TORCH_CHECK(times.students > 0 && job.batch > 0 && job.seq > 0,
              "a plan without students or rows");
  const auto m = static_cast<double>(times.teachers), n = static_cast<double>(times.students);
  const bool colocated = times.teachers == 0;
  const double tokens = static_cast<double>(job.batch * job.seq);

  // Which share of the soft targets crosses nodes, and the busiest link.
  double crossing = 0, soft_share = 0;
  for (const NodeRoles& node : nodes) {
    if (colocated || in_proportion(nodes)) break;
    const double teach = static_cast<double>(node.teachers) / m;
    const double learn = static_cast<double>(node.students) / n;
    crossing += learn * (1 - teach);
    soft_share = std::max({soft_share, learn * (1 - teach), teach * (1 - learn)});
  }
  times.soft = tokens * payload.bytes * soft_share;
  const double ring = 2 * (n - 1) / n * cluster.gradient_bytes;
  times.gradient = nodes_with_students > 1 ? ring : 0;
  if (cluster.node_bytes_per_s > 0) times.reduce = ring / cluster.node_bytes_per_s;
  if (nodes_with_students > 1) {
    if (cluster.link_bytes_per_s > 0)
      times.reduce = std::max(times.reduce, ring / cluster.link_bytes_per_s);
    times.reduce += 2 * (n - 1) * cluster.latency_s;
  }
  if (cluster.link_bytes_per_s > 0)
    times.link = (times.soft + times.gradient) / cluster.link_bytes_per_s;

  const int64_t rows = ceil_div(job.batch, times.students);
  const int64_t unit_rows = job.micro_batch > 0 ? std::min(job.micro_batch, rows) : rows;
  const double step_tokens = static_cast<double>(rows * job.seq);
  times.units = static_cast<double>(ceil_div(rows, unit_rows));
  times.message_rows = static_cast<double>(unit_rows);
  const double unit_tokens = step_tokens / times.units;
  times.pause = times.reduce + cluster.update_seconds;
  const double copy = colocated ? 0 : payload.copy_seconds * (1 - crossing);
  times.unit_copy = unit_tokens * copy;
  times.unit_teacher = unit_tokens * (payload.teacher_seconds + copy);
  times.unit_student = unit_tokens * (payload.student_seconds + copy);
  if (crossing > 0) {
    times.unit_message = cluster.latency_s;
    if (cluster.link_bytes_per_s > 0)
      times.unit_message += unit_tokens * payload.bytes / cluster.link_bytes_per_s;
  }
  times.student = step_tokens * (payload.student_seconds + copy) + times.pause;
  if (colocated) {
    times.student += step_tokens * payload.teacher_seconds;
  } else {
    times.teacher = tokens / m * (payload.teacher_seconds + copy);
  }
  return times;
}

/// A step without lookahead: a student asks, its teacher begins. Either a teacher serves its
/// students one after another without a break, or a student's own chain of requests is the longer.
double lock_step_seconds(const StepTimes& times) {
  const double n = static_cast<double>(times.students), m = static_cast<double>(times.teachers);
  const double serve = times.unit_teacher + times.unit_message;
  const double turns = std::ceil(n / m) - 1;  // others of the same teacher come first
  const double chain = times.round() + turns * serve;
  const double service =
      times.units * (n / m) * serve + times.unit_student - times.unit_copy + times.pause;
  return std::max(chain, service);
}

}  // namespace

Placement planned_placement(int64_t teachers, const std::vector<int>& node_of_rank, bool spread) {
  const std::vector<int> one_node(node_of_rank.size(), 0);
  return place(static_cast<int>(std::min<int64_t>(teachers, INT32_MAX)),
               spread ? node_of_rank : one_node);
}

std::vector<NodeRoles> node_roles(int64_t teachers, const std::vector<int>& node_of_rank,
                                  bool spread) {
  std::vector<NodeRoles> nodes(
      1 + static_cast<size_t>(*std::max_element(node_of_rank.begin(), node_of_rank.end())));
  const Placement placement = planned_placement(teachers, node_of_rank, spread);
  const auto node = [&](int rank) -> NodeRoles& {
    return nodes[static_cast<size_t>(node_of_rank[static_cast<size_t>(rank)])];
  };
  for (const int rank : placement.teachers) ++node(rank).teachers;
  for (const int rank : placement.students) ++node(rank).students;
  return nodes;
}

const char* bound_name(Bound bound) {
  switch (bound) {
    case Bound::kTeachers:
      return "teachers";
    case Bound::kStudents:
      return "students";
    case Bound::kNetwork:
      return "network";
    case Bound::kLookahead:
      return "lookahead";
    case Bound::kColocated:
      return "colocated";
  }
  return "unknown";
}

Prediction predict(const PayloadRates& payload, const ClusterRates& cluster, const PlanJob& job,
                   const std::vector<NodeRoles>& nodes, int64_t lookahead) {
  TORCH_CHECK(lookahead >= 0, "a plan with a lookahead of ", lookahead);
  const StepTimes times = step_times(payload, cluster, job, nodes);
  const double tokens = static_cast<double>(job.batch * job.seq);
  const bool colocated = times.teachers == 0;

  Prediction result;
  result.payload = payload.payload;
  result.teachers = times.teachers;
  result.students = times.students;
  result.lookahead = colocated ? 0 : lookahead;
  result.reduce_seconds = times.reduce;
  result.students_tokens_per_s = tokens / times.student;
  if (times.link > 0) result.network_tokens_per_s = tokens / times.link;

  double step = times.busiest();
  if (colocated) {
    result.bound = Bound::kColocated;
  } else {
    result.teachers_tokens_per_s = tokens / times.teacher;
    result.bytes_per_token = payload.bytes;
    result.bound = times.link >= step      ? Bound::kNetwork
                   : times.teacher >= step ? Bound::kTeachers
                                           : Bound::kStudents;
    const double stream = lookahead == 0 ? lock_step_seconds(times)
                                         : times.round() / static_cast<double>(lookahead + 1);
    if (stream > step) {
      step = stream;
      result.bound = Bound::kLookahead;
    }
    result.wait_student = 1 - times.teacher / step;
    result.wait_teacher = 1 - times.student / step;
  }
  result.tokens_per_s = tokens / step;
  const double link_bytes = times.soft + times.gradient;
  result.node_bytes_per_s = link_bytes / step;
  result.needed_bytes_per_s = link_bytes / std::max(times.teacher, times.student);

  DistillSizes sizes = payload.sizes;
  sizes.message = times.message_rows * static_cast<double>(job.seq) * payload.bytes;
  result.memory = rank_memory(sizes, times.teachers, times.students, lookahead);
  return result;
}

int64_t recommended_lookahead(const PayloadRates& payload, const ClusterRates& cluster,
                              const PlanJob& job, const std::vector<NodeRoles>& nodes) {
  const StepTimes times = step_times(payload, cluster, job, nodes);
  if (times.teachers == 0) return 0;
  constexpr double kTolerance = 1.02;  // a round 1% too long costs 1%, a buffer costs memory
  const double buffers = times.round() / (kTolerance * times.busiest());
  const auto least = static_cast<int64_t>(std::ceil(std::min(buffers, 1e6))) - 1;
  return std::min(std::max<int64_t>(1, least) + 1, kMostLookahead);
}

std::vector<int64_t> splits(int64_t ranks, const std::vector<PayloadRates>& payloads) {
  constexpr int64_t kMany = 64;
  std::vector<int64_t> result;
  if (ranks <= kMany) {
    for (int64_t teachers = 1; teachers < ranks; ++teachers) result.push_back(teachers);
    return result;
  }
  for (int64_t part = 1; part < kMany; ++part) result.push_back(ranks * part / kMany);
  for (const PayloadRates& payload : payloads) {
    const double share =
        payload.teacher_seconds / (payload.teacher_seconds + payload.student_seconds);
    const auto balanced = static_cast<int64_t>(static_cast<double>(ranks) * share);
    for (const int64_t teachers : {balanced, balanced + 1})
      result.push_back(std::clamp<int64_t>(teachers, 1, ranks - 1));
  }
  std::sort(result.begin(), result.end());
  result.erase(std::unique(result.begin(), result.end()), result.end());
  return result;
}

int64_t recommend(const std::vector<Prediction>& predictions, double memory_bytes) {
  const auto fits = [&](const Prediction& each) {
    return memory_bytes <= 0 || std::max(each.memory.teacher, each.memory.student) <= memory_bytes;
  };
  double fastest = 0;
  for (const Prediction& each : predictions) {
    if (fits(each)) fastest = std::max(fastest, each.tokens_per_s);
  }
  const auto inexact = [](const Prediction& each) {
    return each.payload == Payload::kTopk ? 2 : each.payload == Payload::kSample ? 1 : 0;
  };
  const auto better = [&](const Prediction& a, const Prediction& b) {
    if (inexact(a) != inexact(b)) return inexact(a) < inexact(b);
    if ((a.teachers == 0) != (b.teachers == 0)) return b.teachers == 0;
    if (a.node_bytes_per_s != b.node_bytes_per_s) return a.node_bytes_per_s < b.node_bytes_per_s;
    if (a.tokens_per_s != b.tokens_per_s) return a.tokens_per_s > b.tokens_per_s;
    return std::max(a.memory.teacher, a.memory.student) <
           std::max(b.memory.teacher, b.memory.student);
  };
  int64_t best = -1;
  for (size_t i = 0; i < predictions.size(); ++i) {
    const Prediction& each = predictions[i];
    if (!fits(each) || each.tokens_per_s < (1 - kAlike) * fastest) continue;
    if (best < 0 || better(each, predictions[static_cast<size_t>(best)]))
      best = static_cast<int64_t>(i);
  }
  return best;
}

std::string gbit_text(double bytes_per_s) {
  const double gbit = bytes_per_s * 8e-9;
  return gbit >= 10 ? format("%.0f", gbit) : format("%.2g", gbit);
}

std::string reason(const Prediction& prediction, const ClusterRates& cluster) {
  switch (prediction.bound) {
    case Bound::kTeachers:
      return format("teachers are the bottleneck: students wait %.0f%% of the time",
                    100 * prediction.wait_teacher);
    case Bound::kStudents:
      return format("students are the bottleneck: teachers wait %.0f%% of the time",
                    100 * prediction.wait_student);
    case Bound::kNetwork:
      return format("network-bound: %s needs %s Gbit/s of %s", payload_name(prediction.payload),
                    gbit_text(prediction.needed_bytes_per_s).c_str(),
                    gbit_text(cluster.link_bytes_per_s).c_str());
    case Bound::kLookahead:
      return prediction.lookahead == 0
                 ? "lock-step: teachers and students wait for each other"
                 : format("a lookahead of %lld does not cover teacher and message",
                          static_cast<long long>(prediction.lookahead));
    case Bound::kColocated:
      return "every rank runs both models, nothing travels";
  }
  return {};
}

}  // namespace temper
