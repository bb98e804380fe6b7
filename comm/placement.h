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

  bool colocated() const { return teachers.empty(); }
  bool is_teacher(int world_rank) const;
  /// Index of a world rank within its role.
  int role_index(int world_rank) const;

  /// World rank of the teacher for the micro-batch that student `student` (its index) consumes as
  /// its `unit`-th since the start of the job. The teachers take turns, so that any number of them
  /// feeds any number of students; student i begins with teacher i mod M.
  int teacher_of(int student, int64_t unit) const;
};

/// Places `teachers` teacher ranks on a world whose rank r runs on node `node_of_rank[r]`: spread
/// over the nodes in proportion, the last ranks of each node, so that each node holds both roles
/// where that is possible (soft targets are best kept inside a node). Throws c10::ValueError naming
/// --launch.teachers if teachers < 0 or no rank would be left for a student.
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
