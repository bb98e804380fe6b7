// Who does what: the world split into teacher ranks and student ranks, and which teacher serves
// which micro-batch.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace temper {

/// The roles of all world ranks; the same on every rank.
struct Placement {
  std::vector<int> teachers;  ///< world ranks, in order; empty: colocated
  std::vector<int> students;  ///< world ranks, in order; all ranks if colocated
  /// By student: the world ranks of the teachers that it hears from, in their order. Empty: each
  /// hears from all of them, student i beginning with teacher i mod M.
  std::vector<std::vector<int>> turns = {};

  bool colocated() const { return teachers.empty(); }
  bool is_teacher(int world_rank) const;
  /// Index of a world rank within its role.
  int role_index(int world_rank) const;

  /// World rank of the teacher for the micro-batch that student `student` (its index) consumes as
  /// its `unit`-th since the start of the job. The teachers take turns, so that any number of them
  /// feeds any number of students.
  int teacher_of(int student, int64_t unit) const;
  /// How many teachers take turns at a student.
  int64_t teachers_of(int student) const;
  /// True if a student (its index) ever hears from the teacher of that world rank.
  bool serves(int teacher_rank, int student) const;
};

/// Ranks of each role on one node.
struct NodeRoles {
  int64_t teachers = 0;
  int64_t students = 0;
};

/// True where every node's own teachers can feed its own students and all teachers have the same to
/// do: each node holds both roles, in the same proportion. Then no soft target leaves its node.
bool in_proportion(const std::vector<NodeRoles>& nodes);

/// Places `teachers` teacher ranks on a world whose rank r runs on node `node_of_rank[r]`: spread
/// over the nodes in proportion, the last ranks of each node, so that each node holds both roles
/// where that is possible. Where all nodes have the roles in_proportion(), students hear from the
/// teachers of their own node only; else from all, since some teachers would have more to do than
/// others. Throws c10::ValueError naming --launch.teachers if teachers < 0 or no rank would be left
/// for a student.
Placement place(int teachers, const std::vector<int>& node_of_rank);

/// Rows [begin, end) of a global batch that belong to part `index` of `parts`, as even as possible,
/// in order.
struct RowRange {
  int64_t begin = 0;
  int64_t end = 0;
  int64_t size() const { return end - begin; }
};
RowRange share(int64_t rows, int index, int parts);

/// The micro-batches of one rank's rows: consecutive, at most `micro_batch` rows each.
std::vector<RowRange> micro_batches(RowRange rows, int64_t micro_batch);

}  // namespace temper
