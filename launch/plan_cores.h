// One process with all of a node's cores, or one for each share of them? Both ways of running the
// colocated job are measured, and the faster one is said.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "launch/plan_probe.h"

namespace temper {

/// Seconds of a step of the whole batch, teacher and student in every process.
struct CoreSplit {
  int cores = 0;  ///< of the node, as far as these ranks share them
  int ranks = 0;
  double one_process = 0;  ///< with a thread for each core
  double all_ranks = 0;    ///< with the cores shared out, the gradient's reduction included
  double tokens = 0;       ///< of a step

  bool one_is_faster() const { return one_process <= all_ranks; }
};

/// Measures it on the real models, `job.steps` steps each way; nothing where the ranks are not
/// several on one node's shared cores, or have GPUs. Needs memory for both models on every rank.
/// Collective; the result is on every rank.
std::optional<CoreSplit> measure_core_split(const ProbeJob& job);

/// A line for a person.
std::string to_text(const CoreSplit& split);
nlohmann::ordered_json to_json(const CoreSplit& split);

}  // namespace temper
