// Roles, turns and shares, against answers worked out by hand and properties that must hold for
// every size.
#include "comm/placement.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "comm/agree.h"

namespace temper {
namespace {

using Ranks = std::vector<int>;

TEST(PlacementTest, OneNodePutsTeachersLast) {
  const Placement placement = place(2, {0, 0, 0, 0, 0});
  EXPECT_EQ(placement.students, (Ranks{0, 1, 2}));
  EXPECT_EQ(placement.teachers, (Ranks{3, 4}));
  EXPECT_FALSE(placement.colocated());
  EXPECT_TRUE(placement.is_teacher(4));
  EXPECT_FALSE(placement.is_teacher(2));
  EXPECT_EQ(placement.role_index(4), 1);
  EXPECT_EQ(placement.role_index(2), 2);
}

TEST(PlacementTest, NoTeachersIsColocated) {
  const Placement placement = place(0, {0, 0, 1});
  EXPECT_TRUE(placement.colocated());
  EXPECT_EQ(placement.students, (Ranks{0, 1, 2}));
}

TEST(PlacementTest, EachNodeHoldsBothRoles) {
  // Two nodes of four ranks, whether mpirun fills nodes one after another or deals ranks out in
  // turn.
  EXPECT_EQ(place(2, {0, 0, 0, 0, 1, 1, 1, 1}).teachers, (Ranks{3, 7}));
  EXPECT_EQ(place(2, {0, 1, 0, 1, 0, 1, 0, 1}).teachers, (Ranks{6, 7}));
  EXPECT_EQ(place(4, {5, 5, 5, 5, 2, 2, 2, 2}).teachers, (Ranks{2, 3, 6, 7}));
  // Proportions alone (1/3 and 5/3 of two teachers) would give both to the large node.
  EXPECT_EQ(place(2, {0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1}).teachers, (Ranks{1, 11}));
  // A node of one rank cannot hold both; the node of five can.
  EXPECT_EQ(place(4, {0, 1, 2, 3, 3, 3, 3, 3}).teachers, (Ranks{4, 5, 6, 7}));
}

TEST(PlacementTest, FollowsTheNodesSizes) {
  // 3 teachers over nodes of 8 and 4 ranks: 2 and 1.
  EXPECT_EQ(place(3, {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1}).teachers, (Ranks{6, 7, 11}));
}

TEST(PlacementTest, NodesOfOneRankTeachFromTheEnd) {
  EXPECT_EQ(place(2, {0, 1, 2, 3, 4}).teachers, (Ranks{3, 4}));
}

TEST(PlacementTest, EveryRankHasOneRoleAndRankZeroLearns) {
  for (const Ranks& nodes :
       {Ranks{0}, Ranks{0, 0, 0}, Ranks{0, 0, 1, 1, 1, 1, 1}, Ranks{0, 1, 1, 1},
        Ranks{0, 1, 2, 0, 1, 2, 0}, Ranks{3, 3, 3, 3, 3, 7}}) {
    for (int teachers = 0; teachers < static_cast<int>(nodes.size()); ++teachers) {
      const Placement placement = place(teachers, nodes);
      std::set<int> all(placement.students.begin(), placement.students.end());
      all.insert(placement.teachers.begin(), placement.teachers.end());
      EXPECT_EQ(static_cast<int>(placement.teachers.size()), teachers);
      EXPECT_EQ(placement.teachers.size() + placement.students.size(), nodes.size());
      EXPECT_EQ(all.size(), nodes.size());
      EXPECT_EQ(placement.students.front(), 0);
    }
  }
}

TEST(PlacementTest, RefusesTooManyTeachersNamingTheOption) {
  for (const int teachers : {-1, 3, 4}) {
    try {
      place(teachers, {0, 0, 0});
      FAIL() << teachers << " teachers on 3 ranks";
    } catch (const c10::ValueError& error) {
      const std::string text = plain_message(error);
      EXPECT_NE(text.find("--launch.teachers " + std::to_string(teachers)), std::string::npos)
          << text;
    }
  }
}

TEST(PlacementTest, TeachersTakeTurns) {
  const Placement placement{.teachers = {4, 5, 6}, .students = {0, 1, 2, 3}};
  // student 0: 4 5 6 4 …; student 1: 5 6 4 …; student 3 begins with teacher 3 mod 3 = 0
  EXPECT_EQ(placement.teacher_of(0, 0), 4);
  EXPECT_EQ(placement.teacher_of(0, 4), 5);
  EXPECT_EQ(placement.teacher_of(1, 0), 5);
  EXPECT_EQ(placement.teacher_of(1, 2), 4);
  EXPECT_EQ(placement.teacher_of(3, 0), 4);
}

TEST(PlacementTest, LoadIsEvenForEveryMAndN) {
  constexpr int64_t kUnits = 60;
  for (int m = 1; m <= 5; ++m) {
    for (int n = 1; n <= 5; ++n) {
      const Placement placement = place(m, Ranks(static_cast<size_t>(m + n), 0));
      std::map<int, int64_t> load;
      for (int student = 0; student < n; ++student) {
        std::map<int, int64_t> of_student;
        for (int64_t unit = 0; unit < kUnits; ++unit) {
          const int teacher = placement.teacher_of(student, unit);
          ASSERT_TRUE(placement.is_teacher(teacher));
          ++load[teacher];
          ++of_student[teacher];
        }
        ASSERT_EQ(of_student.size(), static_cast<size_t>(m));
        for (const auto& [teacher, units] : of_student) EXPECT_EQ(units, kUnits / m) << teacher;
      }
      for (const auto& [teacher, units] : load) EXPECT_EQ(units, kUnits * n / m) << teacher;
    }
  }
}

TEST(PlacementTest, StudentsHearFromTheirOwnNodeWhereNodesAreInProportion) {
  // Ranks lie on nodes 0 1 0 1 0 1; of each node's three ranks the last teaches: 4 and 5.
  const Placement dealt = place(2, {0, 1, 0, 1, 0, 1});
  EXPECT_EQ(dealt.students, (Ranks{0, 1, 2, 3}));
  EXPECT_EQ(dealt.turns, (std::vector<Ranks>{{4}, {5}, {4}, {5}}));
  // Two nodes of three students and two teachers: they begin with each in turn.
  const Placement two = place(4, {7, 7, 7, 7, 7, 3, 3, 3, 3, 3});
  EXPECT_EQ(two.turns, (std::vector<Ranks>{{3, 4}, {4, 3}, {3, 4}, {8, 9}, {9, 8}, {8, 9}}));
  EXPECT_EQ(two.teacher_of(1, 0), 4);
  EXPECT_EQ(two.teacher_of(1, 3), 3);
  EXPECT_EQ(two.teachers_of(1), 2);
  EXPECT_TRUE(two.serves(9, 3));
  EXPECT_FALSE(two.serves(4, 3));
  // Nodes of six and three ranks: 4 + 2 and 2 + 1.
  const Placement uneven = place(3, {0, 0, 0, 0, 0, 0, 1, 1, 1});
  EXPECT_EQ(uneven.turns, (std::vector<Ranks>{{4, 5}, {5, 4}, {4, 5}, {5, 4}, {8}, {8}}));
}

TEST(PlacementTest, AllTeachersTakeTurnsWhereNodesAreNotInProportion) {
  EXPECT_TRUE(place(2, {0, 0, 0, 0}).turns.empty());     // one node
  EXPECT_TRUE(place(2, {0, 0, 0, 1, 1}).turns.empty());  // 2 + 1 and 1 + 1
  EXPECT_TRUE(place(1, {0, 0, 1, 1}).turns.empty());     // a node without a teacher
  EXPECT_TRUE(place(0, {0, 0, 1, 1}).turns.empty());     // colocated
  EXPECT_EQ(place(2, {0, 0, 0, 1, 1}).teachers_of(0), 2);
  EXPECT_TRUE(place(2, {0, 0, 0, 1, 1}).serves(4, 0));
}

TEST(PlacementTest, TeachersOfNodesInProportionHaveTheSameToDo) {
  constexpr int64_t kUnits = 60;
  for (int teachers = 1; teachers <= 3; ++teachers) {
    for (int students = 1; students <= 4; ++students) {
      Ranks nodes;
      for (int rank = 0; rank < 3 * (teachers + students); ++rank) nodes.push_back(rank % 3);
      const Placement placement = place(3 * teachers, nodes);
      ASSERT_EQ(placement.turns.size(), placement.students.size());
      std::map<int, int64_t> load;
      for (int student = 0; student < 3 * students; ++student) {
        for (int64_t unit = 0; unit < kUnits; ++unit) {
          const int teacher = placement.teacher_of(student, unit);
          ++load[teacher];
          const int world_rank = placement.students[static_cast<size_t>(student)];
          ASSERT_EQ(teacher % 3, world_rank % 3) << "another node's teacher";
          ASSERT_TRUE(placement.serves(teacher, student));
        }
      }
      ASSERT_EQ(load.size(), static_cast<size_t>(3 * teachers));
      for (const auto& [teacher, units] : load) EXPECT_EQ(units, kUnits * students / teachers);
    }
  }
}

TEST(ShareTest, IsEvenAndComplete) {
  EXPECT_EQ(share(7, 0, 3).size() + share(7, 1, 3).size() + share(7, 2, 3).size(), 7);
  for (int64_t rows = 0; rows < 20; ++rows) {
    for (int parts = 1; parts < 7; ++parts) {
      int64_t at = 0;
      for (int index = 0; index < parts; ++index) {
        const RowRange range = share(rows, index, parts);
        EXPECT_EQ(range.begin, at);
        EXPECT_GE(range.size(), rows / parts);
        EXPECT_LE(range.size(), (rows + parts - 1) / parts);
        at = range.end;
      }
      EXPECT_EQ(at, rows);
    }
  }
}

TEST(MicroBatchesTest, CutsInOrder) {
  const std::vector<RowRange> parts = micro_batches({.begin = 5, .end = 12}, 3);
  ASSERT_EQ(parts.size(), 3U);
  EXPECT_EQ(parts[0].begin, 5);
  EXPECT_EQ(parts[1].begin, 8);
  EXPECT_EQ(parts[2].begin, 11);
  EXPECT_EQ(parts[2].end, 12);
  EXPECT_TRUE(micro_batches({.begin = 4, .end = 4}, 3).empty());
}

}  // namespace
}  // namespace temper
