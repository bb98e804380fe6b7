// Which transport serves which pair.
#include "comm/transport_choice.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include "comm/agree.h"

namespace temper {
namespace {

/// Students 0 and 1, teachers 2 and 3; ranks 0 and 2 on one node, 1 and 3 on another.
const Placement kPlacement{.teachers = {2, 3}, .students = {0, 1}};

TransportFacts cpus() { return {.node = {0, 1, 0, 1}, .gpu = {"", "", "", ""}, .nccl = true}; }

TransportFacts gpus() { return {.node = {0, 1, 0, 1}, .gpu = {"a", "b", "c", "d"}, .nccl = true}; }

std::string refusal(Transport wish, Payload payload, const TransportFacts& facts) {
  try {
    choose_transports(kPlacement, payload, wish, facts);
  } catch (const c10::ValueError& error) {
    return plain_message(error);
  }
  return "nothing was refused";
}

TEST(TransportChoiceTest, NamesGoBothWays) {
  for (const char* name : {"auto", "messages", "shared", "nccl"})
    EXPECT_STREQ(transport_name(transport_from_name(name)), name);
  EXPECT_THROW(transport_from_name("pigeon"), c10::ValueError);
}

TEST(TransportChoiceTest, AutoSharesMemoryWithinANode) {
  const TransportChoice choice =
      choose_transports(kPlacement, Payload::kFull, Transport::kAuto, cpus());
  EXPECT_EQ(choice.of(0, 0), Transport::kShared);
  EXPECT_EQ(choice.of(0, 1), Transport::kMessages);
  EXPECT_EQ(choice.of(1, 0), Transport::kMessages);
  EXPECT_EQ(choice.of(1, 1), Transport::kShared);
  EXPECT_EQ(choice.describe(), "2 pairs through shared memory, 2 by messages");
}

TEST(TransportChoiceTest, AutoTakesMessagesWhereOneSideHasAGpu) {
  TransportFacts facts = cpus();
  facts.gpu[2] = "a";
  const TransportChoice choice =
      choose_transports(kPlacement, Payload::kFull, Transport::kAuto, facts);
  EXPECT_EQ(choice.of(0, 0), Transport::kMessages);
  EXPECT_EQ(choice.of(1, 1), Transport::kShared);
}

TEST(TransportChoiceTest, AutoTakesNcclWhereEveryRankHasAGpu) {
  for (const Payload payload : {Payload::kFull, Payload::kHidden}) {
    const TransportChoice choice = choose_transports(kPlacement, payload, Transport::kAuto, gpus());
    EXPECT_EQ(choice.describe(), "4 pairs over NCCL");
  }
  TransportFacts shared = gpus();
  shared.gpu[3] = "a";
  TransportFacts without = gpus();
  without.nccl = false;
  for (const TransportFacts& facts : {shared, without}) {
    EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kAuto, facts).describe(),
              "4 pairs by messages");
  }
  EXPECT_EQ(choose_transports(kPlacement, Payload::kTopk, Transport::kAuto, gpus()).describe(),
            "4 pairs by messages");
}

TEST(TransportChoiceTest, NcclIsRefusedWhereWhatIsGrantedWaitsForItsStudent) {
  TransportFacts writing = gpus();
  writing.students_write = true;
  TransportFacts unequal = gpus();
  unequal.equal_units = false;
  for (const auto& [facts, reason] : {std::pair{writing, "students write rows themselves"},
                                      {unequal, "different numbers of micro-batches"}}) {
    const TransportChoice choice =
        choose_transports(kPlacement, Payload::kFull, Transport::kAuto, facts);
    EXPECT_EQ(choice.describe(), "4 pairs by messages");
    EXPECT_EQ(choice.note().rfind("not over NCCL: ", 0), 0u) << choice.note();
    EXPECT_NE(choice.note().find(reason), std::string::npos) << choice.note();
    EXPECT_NE(refusal(Transport::kNccl, Payload::kFull, facts).find(reason), std::string::npos);
    EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kMessages, facts).note(),
              "");
  }
}

TEST(TransportChoiceTest, ANoteSaysWhyGpusDoWithoutNccl) {
  EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kAuto, gpus()).note(), "");
  EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kAuto, cpus()).note(), "");
  TransportFacts shared = gpus();
  shared.gpu[3] = "a";
  EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kAuto, shared).note(),
            "not over NCCL: ranks 0 and 3 share one GPU (start one rank per GPU)");
  TransportFacts some = gpus();
  some.gpu[1] = "";  // nobody expects it then
  EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kAuto, some).note(), "");
}

TEST(TransportChoiceTest, AWishIsKeptOrRefusedWithTheRanks) {
  EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kMessages, gpus()).describe(),
            "4 pairs by messages");
  EXPECT_NE(refusal(Transport::kShared, Payload::kFull, cpus())
                .find("shared cannot serve teacher rank 2 and student rank 1: they are on "
                      "different nodes"),
            std::string::npos);
  TransportFacts one_node = gpus();
  one_node.node = {0, 0, 0, 0};
  EXPECT_EQ(choose_transports(kPlacement, Payload::kFull, Transport::kShared, one_node).describe(),
            "4 pairs through shared memory");
  EXPECT_NE(refusal(Transport::kNccl, Payload::kFull, cpus()).find("rank 0 has no GPU"),
            std::string::npos);
  EXPECT_NE(refusal(Transport::kNccl, Payload::kSample, gpus()).find("the payload sample"),
            std::string::npos);
  TransportFacts shared = gpus();
  shared.gpu[3] = "b";
  EXPECT_NE(refusal(Transport::kNccl, Payload::kFull, shared).find("ranks 1 and 3 share one GPU"),
            std::string::npos);
  shared.nccl = false;
  EXPECT_NE(refusal(Transport::kNccl, Payload::kFull, shared).find("has no NCCL"),
            std::string::npos);
}

TEST(TransportChoiceTest, PairsThatNeverTalkNeedNoWay) {
  Placement own_nodes = kPlacement;
  own_nodes.turns = {{2}, {3}};
  const auto described = [&](Transport wish, const TransportFacts& facts) {
    return choose_transports(own_nodes, Payload::kFull, wish, facts).describe();
  };
  EXPECT_EQ(described(Transport::kAuto, cpus()), "2 pairs through shared memory");
  EXPECT_EQ(described(Transport::kShared, cpus()), "2 pairs through shared memory");
  EXPECT_EQ(described(Transport::kMessages, cpus()), "2 pairs by messages");
  EXPECT_EQ(described(Transport::kAuto, gpus()), "2 pairs over NCCL");
}

TEST(TransportChoiceTest, ANodeWithoutMemoryTakesMessages) {
  TransportChoice choice = choose_transports(kPlacement, Payload::kFull, Transport::kAuto, cpus());
  choice.leave_shared_memory({true, false}, kPlacement, {0, 1, 0, 1});
  EXPECT_EQ(choice.of(0, 0), Transport::kShared);
  EXPECT_EQ(choice.of(1, 1), Transport::kMessages);
  EXPECT_EQ(choice.describe(), "1 pair through shared memory, 3 by messages");
}

}  // namespace
}  // namespace temper
