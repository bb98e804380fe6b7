// Roles of ranks and shares of rows: pure functions, so that every rank comes to the same answer
// without a message.
#include "comm/placement.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <map>
#include <utility>

namespace temper {
namespace {

/// The ranks of one node, in order, and how many of them teach.
struct Node {
  std::vector<int> ranks;
  int teachers = 0;

  int64_t size() const { return static_cast<int64_t>(ranks.size()); }
  int64_t students() const { return size() - teachers; }
  std::vector<int>::const_iterator first_teacher() const { return ranks.begin() + students(); }
  /// 0: takes its first teacher and keeps a student; 1: keeps a student; 2: becomes teachers only;
  /// 3: is full.
  int urgency() const {
    if (students() >= 2) return teachers == 0 ? 0 : 1;
    return students() == 1 ? 2 : 3;
  }
};

/// True if `a` should take the next teacher rather than `b`: first by urgency, then by
/// Sainte-Lague's rule (the next teacher goes where (2 t + 1) / ranks is smallest), which shares in
/// proportion to the ranks.
bool before(const Node& a, const Node& b) {
  if (a.urgency() != b.urgency()) return a.urgency() < b.urgency();
  return (2 * a.teachers + 1) * b.size() < (2 * b.teachers + 1) * a.size();
}

std::vector<Node> nodes_by_first_rank(const std::vector<int>& node_of_rank) {
  std::vector<Node> nodes;
  std::map<int, size_t> index;
  for (size_t rank = 0; rank < node_of_rank.size(); ++rank) {
    const auto [at, added] = index.try_emplace(node_of_rank[rank], nodes.size());
    if (added) nodes.emplace_back();
    nodes[at->second].ranks.push_back(static_cast<int>(rank));
  }
  return nodes;
}

/// Placement::turns where no student needs a teacher of another node, else none. A node's students
/// begin with its teachers in turn.
std::vector<std::vector<int>> turns_within(const std::vector<Node>& nodes) {
  std::vector<NodeRoles> roles;
  for (const Node& node : nodes)
    roles.push_back({.teachers = node.teachers, .students = node.students()});
  if (!in_proportion(roles)) return {};
  std::map<int, std::vector<int>> turns;  // by the student's world rank
  for (const Node& node : nodes) {
    std::vector<int> own(node.first_teacher(), node.ranks.end());
    for (auto student = node.ranks.begin(); student != node.first_teacher(); ++student) {
      turns[*student] = own;
      std::rotate(own.begin(), own.begin() + 1, own.end());
    }
  }
  std::vector<std::vector<int>> result;
  for (auto& [student, own] : turns) result.push_back(std::move(own));
  return result;
}

}  // namespace

bool Placement::is_teacher(int world_rank) const {
  return std::find(teachers.begin(), teachers.end(), world_rank) != teachers.end();
}

int Placement::role_index(int world_rank) const {
  const std::vector<int>& role = is_teacher(world_rank) ? teachers : students;
  const auto at = std::find(role.begin(), role.end(), world_rank);
  TORCH_CHECK(at != role.end(), "rank ", world_rank, " has no role in this placement");
  return static_cast<int>(at - role.begin());
}

int Placement::teacher_of(int student, int64_t unit) const {
  TORCH_INTERNAL_ASSERT(!colocated() && student >= 0 && unit >= 0);
  if (turns.empty()) {
    return teachers[static_cast<size_t>((student + unit) % teachers_of(student))];
  }
  return turns.at(static_cast<size_t>(student))[static_cast<size_t>(unit % teachers_of(student))];
}

int64_t Placement::teachers_of(int student) const {
  const std::vector<int>& own = turns.empty() ? teachers : turns.at(static_cast<size_t>(student));
  return static_cast<int64_t>(own.size());
}

bool Placement::serves(int teacher_rank, int student) const {
  const std::vector<int>& own = turns.empty() ? teachers : turns.at(static_cast<size_t>(student));
  return std::find(own.begin(), own.end(), teacher_rank) != own.end();
}

bool in_proportion(const std::vector<NodeRoles>& nodes) {
  return std::all_of(nodes.begin(), nodes.end(), [&](const NodeRoles& node) {
    return node.teachers > 0 && node.students > 0 &&
           node.teachers * nodes.front().students == node.students * nodes.front().teachers;
  });
}

Placement place(int teachers, const std::vector<int>& node_of_rank) {
  const auto ranks = static_cast<int>(node_of_rank.size());
  TORCH_CHECK_VALUE(teachers >= 0, "--launch.teachers ", teachers,
                    ": must be 0 (every rank runs both models) or the number of teacher ranks");
  TORCH_CHECK_VALUE(teachers < ranks, "--launch.teachers ", teachers,
                    ": no student rank is left, the job has ", ranks,
                    ranks == 1 ? " rank" : " ranks", "; start at least ", int64_t{teachers} + 1,
                    " (mpirun -n) or lower it, 0 runs both models on every rank");

  std::vector<Node> nodes = nodes_by_first_rank(node_of_rank);
  for (int given = 0; given < teachers; ++given) {
    // Later nodes win ties and rank 0's node gives up its last student only if there is no other
    // way, which never is (teachers < ranks): so rank 0, which reports, is always a student.
    Node* best = nullptr;
    for (Node& node : nodes) {
      if (&node == &nodes.front() && node.students() == 1) continue;
      if (best == nullptr || !before(*best, node)) best = &node;
    }
    TORCH_INTERNAL_ASSERT(best != nullptr && best->students() > 0);
    ++best->teachers;
  }

  Placement result;
  for (const Node& node : nodes) {
    result.students.insert(result.students.end(), node.ranks.begin(), node.first_teacher());
    result.teachers.insert(result.teachers.end(), node.first_teacher(), node.ranks.end());
  }
  std::sort(result.students.begin(), result.students.end());
  std::sort(result.teachers.begin(), result.teachers.end());
  if (nodes.size() > 1) result.turns = turns_within(nodes);
  return result;
}

RowRange share(int64_t rows, int index, int parts) {
  TORCH_INTERNAL_ASSERT(rows >= 0 && parts > 0 && index >= 0 && index < parts);
  return {.begin = rows * index / parts, .end = rows * (index + 1) / parts};
}

std::vector<RowRange> micro_batches(RowRange rows, int64_t micro_batch) {
  TORCH_INTERNAL_ASSERT(micro_batch > 0);
  std::vector<RowRange> result;
  for (int64_t begin = rows.begin; begin < rows.end; begin += micro_batch) {
    result.push_back({.begin = begin, .end = std::min(begin + micro_batch, rows.end)});
  }
  return result;
}

}  // namespace temper
