// temper plan as a user runs it: from given rates, from a probe alone and under mpirun.
#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "tests/launch/arguments.h"
#include "tests/launch/launcher.h"

namespace temper {
namespace {

using nlohmann::json;

Outcome plan(const Arguments& more, int ranks = 0) {
  Arguments arguments{"plan"};
  const Arguments usual = {
      "--train.batch",   "8",  "--train.seq",        "32", "--teacher.layers", "2",
      "--teacher.width", "64", "--student.layers",   "1",  "--student.width",  "32",
      "--student.heads", "2",  "--plan.probe-steps", "3",  "--run.threads",    "1"};
  for (size_t i = 0; i < usual.size(); i += 2) {
    if (std::find(more.begin(), more.end(), usual[i]) == more.end())
      arguments.insert(arguments.end(), {usual[i], usual[i + 1]});
  }
  arguments.insert(arguments.end(), more.begin(), more.end());
  return launch(arguments, ranks);
}

json planned(const Arguments& more, int ranks = 0) {
  Arguments arguments = more;
  arguments.emplace_back("--json");
  const Outcome outcome = plan(arguments, ranks);
  EXPECT_EQ(outcome.code, 0) << outcome.err;
  // One object, and nothing before or behind it.
  return json::parse(outcome.out);
}

TEST(PlanTest, GivenRatesNeedNoModel) {
  // A teacher rank does 100 tokens/s and a student rank 300: 3 : 1 of 4 ranks balances at 300.
  const json result = planned({"--plan.ranks", "4", "--plan.teacher-tokens-per-s", "100",
                               "--plan.student-tokens-per-s", "300", "--plan.payloads", "full"});
  EXPECT_EQ(result["recommended"]["teachers"], 3);
  EXPECT_EQ(result["recommended"]["students"], 1);
  EXPECT_EQ(result["recommended"]["payload"], "full");
  EXPECT_NEAR(result["recommended"]["tokens_per_s"].get<double>(), 300, 1);
  EXPECT_EQ(result["recommended"]["bytes_per_token"], 1024);  // 256 ids in fp32
  EXPECT_EQ(result["recommended"]["options"][0], "--launch.teachers");
  EXPECT_EQ(result["recommended"]["options"][1], "3");
  // Colocated and every split, each in lock-step, with the configured lookahead and the best one.
  std::set<int> teachers;
  for (const json& each : result["predictions"]) teachers.insert(each["teachers"].get<int>());
  EXPECT_EQ(teachers, (std::set<int>{0, 1, 2, 3}));
}

TEST(PlanTest, ASlowLinkRulesOutFullWhereItCrosses) {
  Arguments cluster = {"--launch.spread",
                       "false",
                       "--plan.ranks",
                       "16",
                       "--plan.ranks-per-node",
                       "2",
                       "--plan.flops",
                       "1e12",
                       "--plan.link-gbit",
                       "1",
                       "--teacher.width",
                       "512",
                       "--teacher.layers",
                       "8",
                       "--data.vocab",
                       "32000",
                       "--train.batch",
                       "64",
                       "--plan.node-gbyte-per-s",
                       "50"};
  const json result = planned(cluster);
  EXPECT_NE(result["recommended"]["payload"], "full");
  bool found = false;
  for (const json& each : result["predictions"]) {
    if (each["payload"] != "full" || each["teachers"] != 8 || each["lookahead"] == 0) continue;
    found = true;
    EXPECT_EQ(each["bound_by"], "network");
    EXPECT_NEAR(each["node_gbit_per_s"].get<double>(), 0.94, 1e-6);
  }
  EXPECT_TRUE(found);
  Arguments only = cluster;
  only.insert(only.end(), {"--plan.payloads", "full", "--plan.teachers", "8"});
  const Outcome text = plan(only);
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("network-bound: full needs"), std::string::npos) << text.out;
  EXPECT_NE(text.out.find("--launch.teachers 8 --teacher.payload full"), std::string::npos);
  // A teacher and a student on each node: nothing but gradients crosses.
  only[1] = "true";
  const json spread = planned(only);
  ASSERT_FALSE(spread["predictions"].empty());
  for (const json& each : spread["predictions"]) {
    EXPECT_EQ(each["teachers"], 8);
    if (each["lookahead"] == 0) continue;
    EXPECT_NE(each["bound_by"], "network");
  }
}

TEST(PlanTest, TeachersOnNodesOfTheirOwnLoadTheLink) {
  // Two nodes of two ranks, two teachers of 100 tokens/s and 1,024 bytes a token. On a node of
  // their own all of it crosses, and no gradient.
  const json result =
      planned({"--launch.spread", "false", "--plan.ranks", "4", "--plan.ranks-per-node", "2",
               "--plan.teachers", "2", "--plan.teacher-tokens-per-s", "100",
               "--plan.student-tokens-per-s", "300", "--plan.payloads", "full"});
  const json& best = result["recommended"];
  EXPECT_NEAR(best["tokens_per_s"].get<double>(), 200, 1);
  EXPECT_NEAR(best["node_gbit_per_s"].get<double>(),
              1024 * 8e-9 * best["tokens_per_s"].get<double>(), 1e-12);
}

TEST(PlanTest, AShardedOptimizerIsSharedByTheStudents) {
  const Arguments arguments = {"--plan.ranks",           "3",    "--plan.teachers", "1",
                               "--plan.flops",           "1e12", "--plan.payloads", "full",
                               "--train.shard-optimizer"};
  double bytes[2] = {};
  double moments = 0;
  for (const bool sharded : {false, true}) {
    Arguments own = arguments;
    own.emplace_back(sharded ? "true" : "false");
    const json result = planned(own);
    bytes[sharded ? 1 : 0] = result["recommended"]["memory_student_bytes"].get<double>();
    moments = 2 * result["cluster"]["gradient_bytes"].get<double>();  // AdamW, fp32
  }
  EXPECT_NEAR(bytes[0] - bytes[1], moments / 2, 1);  // two students
}

TEST(PlanTest, TopkOnlyIfItIsAllowed) {
  const Arguments rates = {"--plan.ranks", "2", "--plan.flops", "1e12"};
  for (const json& each : planned(rates)["predictions"]) EXPECT_NE(each["payload"], "topk");
  Arguments allowed = rates;
  allowed.insert(allowed.end(), {"--plan.payloads", "topk"});
  EXPECT_EQ(planned(allowed)["recommended"]["payload"], "topk");
}

TEST(PlanTest, ProbesAloneAndUnderMpirun) {
  for (const int ranks : {0, 2, 3}) {
    const json result = planned(
        {"--plan.payloads", "full,hidden,topk,sample", "--data.vocab", "512", "--plan.ranks", "3"},
        ranks);
    for (const char* payload : {"full", "hidden", "topk", "sample"}) {
      EXPECT_GT(result["rates"][payload]["teacher_tokens_per_s"].get<double>(), 0) << payload;
      EXPECT_GT(result["rates"][payload]["student_tokens_per_s"].get<double>(), 0) << payload;
      EXPECT_EQ(result["rates"][payload]["copy_seconds_per_token"].get<double>() > 0, ranks > 0);
    }
    EXPECT_GT(result["cluster"]["update_seconds"].get<double>(), 0);
    // One process with all cores against ranks that share them, where there are as many cores.
    const bool shared = ranks > 1 && std::thread::hardware_concurrency() >= unsigned(ranks);
    ASSERT_EQ(result.contains("cores"), shared);
    if (shared) {
      EXPECT_EQ(result["cores"]["ranks"], ranks);
      const double one = result["cores"]["one_process_tokens_per_s"].get<double>(),
                   all = result["cores"]["ranks_tokens_per_s"].get<double>();
      EXPECT_GT(std::min(one, all), 0);
      EXPECT_EQ(result["cores"]["faster"], one >= all ? "one process" : "ranks");
    }
    EXPECT_EQ(result["cluster"]["ranks"], 3);
    EXPECT_GT(result["recommended"]["tokens_per_s"].get<double>(), 0);
    EXPECT_EQ(result["rates"]["hidden"]["bytes_per_token"], 256);  // 64 fp32
  }
}

TEST(PlanTest, TheTablesOptionsRun) {
  const Outcome text = plan({"--plan.payloads", "hidden", "--plan.teachers", "1"}, 2);
  ASSERT_EQ(text.code, 0) << text.err;
  const std::string words = "  --launch.teachers 1 --teacher.payload hidden --teacher.lookahead ";
  const size_t at = text.out.find(words);
  ASSERT_NE(at, std::string::npos) << text.out;
  const std::string lookahead =
      text.out.substr(at + words.size(), text.out.find('\n', at) - at - words.size());
  const ScratchDir scratch;
  const Outcome run =
      launch({"distill", "--launch.teachers", "1", "--teacher.payload", "hidden",
              "--teacher.lookahead", lookahead, "--train.steps", "2", "--train.batch", "2",
              "--train.seq", "16", "--evaluate.max-tokens", "32", "--run.dir", scratch / "run"},
             2);
  EXPECT_EQ(run.code, 0) << run.err;
}

TEST(PlanTest, RefusesWhatCannotBe) {
  const std::vector<std::pair<Arguments, std::string>> cases = {
      {{"--plan.payloads", "full,dense"}, "--plan.payloads has 'dense'"},
      {{"--plan.teacher-tokens-per-s", "5"}, "--plan.student-tokens-per-s"},
      {{"--plan.flops", "1e12", "--plan.teachers", "4", "--plan.ranks", "4"},
       "--plan.teachers is 4"},
      {{"--plan.utilisation", "1.5"}, "--plan.utilisation is 1.5"},
      {{"--plan.link-gbit", "-1"}, "--plan.link-gbit is -1"},
  };
  for (const auto& [arguments, words] : cases) {
    const Outcome outcome = plan(arguments);
    EXPECT_EQ(outcome.code, 2) << words;
    EXPECT_NE(outcome.err.find(words), std::string::npos) << outcome.err;
    EXPECT_TRUE(outcome.out.empty()) << outcome.out;
  }
}

// A colocated rank holds both models: here that is the fastest layout, and the one that takes most.
TEST(PlanTest, LeavesOutWhatDoesNotFit) {
  const Arguments rates = {"plan", "--plan.ranks",
                           "3",    "--plan.teacher-tokens-per-s",
                           "100",  "--plan.student-tokens-per-s",
                           "100",  "--plan.payloads",
                           "full", "--train.batch",
                           "6",    "--train.micro-batch",
                           "1",    "--train.seq",
                           "8",    "--run.threads",
                           "1"};
  const auto planned = [&](double gib) {
    const Outcome outcome =
        launch(rates + Arguments{"--plan.memory-gib", std::to_string(gib), "--json"});
    EXPECT_EQ(outcome.code, 0) << outcome.err;
    return nlohmann::json::parse(outcome.out);
  };
  const auto largest = [](const nlohmann::json& prediction) {
    return std::max(prediction.at("memory_teacher_bytes").get<double>(),
                    prediction.at("memory_student_bytes").get<double>());
  };
  const nlohmann::json unlimited = planned(0);
  ASSERT_EQ(unlimited.at("recommended").at("teachers"), 0);
  const double both = largest(unlimited.at("recommended"));
  double split = 0;
  for (const nlohmann::json& each : unlimited.at("predictions")) {
    if (each.at("teachers") != 0) split = std::max(split, largest(each));
  }
  ASSERT_LT(split, 0.9 * both);
  constexpr double kGib = 1024.0 * 1024 * 1024;
  const nlohmann::json limited = planned((split + both) / 2 / kGib);
  EXPECT_GT(limited.at("recommended").at("teachers").get<int>(), 0);
  EXPECT_LE(largest(limited.at("recommended")), split);
  EXPECT_LT(limited.at("recommended").at("tokens_per_s").get<double>(),
            unlimited.at("recommended").at("tokens_per_s").get<double>());

  EXPECT_TRUE(planned(1e-6).at("recommended").is_null());
  const Outcome text = launch(rates + Arguments{"--plan.memory-gib", "1e-6"});
  EXPECT_EQ(text.code, 0) << text.err;
  EXPECT_NE(text.out.find("nothing fits into 1.0 KiB a rank"), std::string::npos) << text.out;
}

}  // namespace
}  // namespace temper
