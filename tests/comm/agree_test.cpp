// An error on any rank is the same error on all, and one rank reports it.
#include "comm/agree.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

namespace temper {
namespace {

/// What this rank threw: text, reporter, user_error.
struct Outcome {
  std::string text;
  bool reporter = false;
  bool user_error = false;
};

Outcome agree_on(const Communicator& world, const std::function<void()>& local) {
  try {
    agree(world, local);
  } catch (const AgreedError& error) {
    return {error.what(), error.reporter, error.user_error};
  }
  return {"nothing", false, false};
}

TEST(AgreeTest, NothingHappensWhereNobodyThrows) {
  const Communicator world = Communicator::world();
  bool ran = false;
  EXPECT_NO_THROW(agree(world, [&] { ran = true; }));
  EXPECT_TRUE(ran);
}

TEST(AgreeTest, OneRanksErrorIsEverybodys) {
  const Communicator world = Communicator::world();
  for (int failing = 0; failing < world.size(); ++failing) {
    const Outcome outcome = agree_on(world, [&] {
      TORCH_CHECK_VALUE(world.rank() != failing, "--data.text x.txt: rank ", world.rank(),
                        " cannot read it");
    });
    EXPECT_EQ(outcome.text,
              "--data.text x.txt: rank " + std::to_string(failing) + " cannot read it");
    EXPECT_TRUE(outcome.user_error);
    EXPECT_EQ(outcome.reporter, world.rank() == failing);
  }
}

TEST(AgreeTest, TheLowestFailingRankSpeaks) {
  const Communicator world = Communicator::world();
  const int lowest = world.size() / 2;  // 1 rank: 0; 2: 1; 4: 2, and 3 fails too
  const Outcome outcome = agree_on(world, [&] {
    if (world.rank() >= lowest) throw std::runtime_error("from " + std::to_string(world.rank()));
  });
  EXPECT_EQ(outcome.text, "from " + std::to_string(lowest));
  EXPECT_FALSE(outcome.user_error);
  EXPECT_EQ(world.all_reduce(int64_t{outcome.reporter}), 1);
}

TEST(AgreeTest, TakesWhateverIsThrown) {
  const Communicator world = Communicator::world();
  EXPECT_EQ(agree_on(world, [] { throw 5; }).text, "an exception of an unknown type");
  EXPECT_EQ(agree_on(world, [] { throw std::runtime_error(""); }).text, "");
  EXPECT_FALSE(agree_on(world, [] { TORCH_CHECK(false, "ours"); }).user_error);
}

TEST(AgreeTest, KeepsTheKindOfAnAgreedError) {
  const Communicator world = Communicator::world();
  const Outcome outcome = agree_on(world, [] { throw AgreedError("before", false, true); });
  EXPECT_EQ(outcome.text, "before");
  EXPECT_TRUE(outcome.user_error);
}

TEST(AgreeOnTest, EqualValuesPass) {
  EXPECT_NO_THROW(temper::agree_on(Communicator::world(), "their data", "a\nb", "use the same"));
}

TEST(AgreeOnTest, TheFirstRankThatDiffersIsShownWithBothValues) {
  const Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  for (int other = 1; other < world.size(); ++other) {
    const std::string mine =
        world.rank() < other ? "steps = 5\nlr = 0.1\nseq = 4" : "steps = 5\nlr = 0.2\nseq = 4";
    try {
      temper::agree_on(world, "their configuration", mine, "give all ranks the same");
      ADD_FAILURE() << "nothing thrown";
    } catch (const AgreedError& error) {
      const std::string text = error.what();
      EXPECT_EQ(text.rfind("the ranks differ in their configuration: rank 0 on ", 0), 0u) << text;
      EXPECT_NE(text.find("has 'lr = 0.1', rank " + std::to_string(other) + " on "),
                std::string::npos)
          << text;
      EXPECT_NE(text.find("has 'lr = 0.2': give all ranks the same"), std::string::npos) << text;
      EXPECT_TRUE(error.user_error);
      EXPECT_EQ(error.reporter, world.rank() == 0);
    }
  }
}

TEST(AgreeOnTest, OneTextMayBeTheBeginningOfTheOther) {
  const Communicator world = Communicator::world();
  if (world.size() == 1) GTEST_SKIP() << "one rank agrees with itself";
  try {
    temper::agree_on(world, "x", world.rank() == 0 ? "a" : "a\nb", "y");
    ADD_FAILURE() << "nothing thrown";
  } catch (const AgreedError& error) {
    EXPECT_NE(std::string(error.what()).find("has nothing, rank 1"), std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace temper
