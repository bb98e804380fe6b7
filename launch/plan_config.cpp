#include "launch/plan_config.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <cmath>
#include <sstream>

namespace temper {

namespace po = boost::program_options;

void PlanConfig::add_options(po::options_description& options) {
  const auto count = [](int64_t* member) {
    return po::value<int64_t>(member)->default_value(*member)->value_name("N");
  };
  const auto number = [](double* member) {
    return po::value<double>(member)->default_value(*member)->value_name("X");
  };
  auto add = options.add_options();
  add("plan.probe-steps", count(&probe_steps),
      "steps that are measured for each payload, after three that are not; under mpirun "
      "launch.teachers of the ranks are teachers meanwhile (0: half of them) and the others "
      "students");
  add("plan.ranks", count(&ranks), "ranks to plan for (0: those that run this command)");
  add("plan.ranks-per-node", count(&ranks_per_node),
      "ranks on each node (0: as the ranks at hand lie; all on one node where others are planned)");
  add("plan.teachers", count(&teachers),
      "plan only the split with so many teacher ranks (0: every split)");
  add("plan.payloads",
      po::value<std::string>(&payloads)->default_value(payloads)->value_name("LIST"),
      "payloads to choose from, with commas; topk is biased in the tail, and is only considered if "
      "it stands here");
  add("plan.teacher-tokens-per-s", number(&teacher_tokens_per_s),
      "what one teacher rank does with the payload full, instead of a probe; with "
      "plan.student-tokens-per-s");
  add("plan.student-tokens-per-s", number(&student_tokens_per_s),
      "what one student rank does with the payload full, instead of a probe");
  add("plan.flops", number(&flops),
      "peak FLOP/s of one rank (a GPU's 1e15, say), instead of a probe: the rates are those of the "
      "models' FLOPs at plan.utilisation");
  add("plan.utilisation", number(&utilisation), "share of plan.flops that the models reach");
  add("plan.link-gbit", number(&link_gbit),
      "a node's network link, Gbit/s in each direction (0: measured where the ranks at hand lie on "
      "several nodes, else no limit)");
  add("plan.latency-us", number(&latency_us), "of a message between nodes, microseconds");
  add("plan.node-gbyte-per-s", number(&node_gbyte_s),
      "bus bandwidth of an all-reduce among the ranks of a node, GB/s (0: measured with at least "
      "two student ranks; else 1.4, that of MPI in host memory)");
  add("plan.memory-gib", number(&memory_gib), "memory of one rank, GiB (0: no limit)");
}

void PlanConfig::validate() const {
  const auto at_least = [](const char* option, int64_t value, int64_t least, int64_t most) {
    TORCH_CHECK_VALUE(value >= least && value <= most, "--plan.", option, " is ", value, ": give ",
                      least, " to ", most);
  };
  constexpr int64_t kMostRanks = 1 << 20;
  at_least("probe-steps", probe_steps, 1, 100000);
  at_least("ranks", ranks, 0, kMostRanks);
  at_least("ranks-per-node", ranks_per_node, 0, kMostRanks);
  at_least("teachers", teachers, 0, kMostRanks);
  for (const auto& [option, value] : {std::pair{"teacher-tokens-per-s", teacher_tokens_per_s},
                                      {"student-tokens-per-s", student_tokens_per_s},
                                      {"flops", flops},
                                      {"link-gbit", link_gbit},
                                      {"latency-us", latency_us},
                                      {"node-gbyte-per-s", node_gbyte_s},
                                      {"memory-gib", memory_gib}}) {
    TORCH_CHECK_VALUE(std::isfinite(value) && value >= 0, "--plan.", option, " is ", value,
                      ": give a finite number of at least 0");
  }
  TORCH_CHECK_VALUE(utilisation > 0 && utilisation <= 1, "--plan.utilisation is ", utilisation,
                    ": give a share above 0, at most 1");
  TORCH_CHECK_VALUE((teacher_tokens_per_s > 0) == (student_tokens_per_s > 0),
                    "--plan.teacher-tokens-per-s is ", teacher_tokens_per_s,
                    " and --plan.student-tokens-per-s is ", student_tokens_per_s,
                    ": give both, or neither and the probe measures them");
  TORCH_CHECK_VALUE(flops == 0 || teacher_tokens_per_s == 0, "--plan.flops is ", flops,
                    " and --plan.teacher-tokens-per-s is ", teacher_tokens_per_s,
                    ": give either FLOPs or tokens per second");
  payload_list();
}

std::vector<Payload> PlanConfig::payload_list() const {
  std::vector<Payload> list;
  std::istringstream names(payloads);
  for (std::string name; std::getline(names, name, ',');) {
    bool known = false;
    for (const Payload payload :
         {Payload::kFull, Payload::kHidden, Payload::kTopk, Payload::kSample}) {
      if (name != payload_name(payload)) continue;
      known = true;
      if (std::find(list.begin(), list.end(), payload) == list.end()) list.push_back(payload);
    }
    TORCH_CHECK_VALUE(known, "--plan.payloads has '", name,
                      "': give full, hidden, topk, sample, with commas between them");
  }
  TORCH_CHECK_VALUE(!list.empty(), "--plan.payloads is empty: give at least one payload");
  return list;
}

}  // namespace temper
