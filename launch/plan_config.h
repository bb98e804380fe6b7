// The [plan] section: what temper plan is asked, and the rates that it shall take instead of
// measuring them.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "comm/payload.h"

namespace temper {

struct PlanConfig {
  int64_t probe_steps = 20;
  int64_t ranks = 0;           ///< to plan for; 0: those at hand
  int64_t ranks_per_node = 0;  ///< 0: as at hand, or all on one node
  int64_t teachers = 0;        ///< one split only; 0: every split
  std::string payloads = "full,hidden,sample";
  double teacher_tokens_per_s = 0;  ///< of one rank, payload full; 0: measured
  double student_tokens_per_s = 0;
  double flops = 0;  ///< of one rank at its peak; 0: measured
  double utilisation = 0.4;
  double link_gbit = 0;     ///< of a node, each direction; 0: measured between nodes, or no limit
  double latency_us = 20;   ///< of one message between nodes
  double node_gbyte_s = 0;  ///< bus bandwidth of an all-reduce inside a node; 0: measured
  double memory_gib = 0;    ///< of one rank; 0: no limit

  /// Declares `plan.*`.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option, the value and the remedy.
  void validate() const;

  /// True if the rates come from the user and no model need run.
  bool given() const { return flops > 0 || teacher_tokens_per_s > 0; }
  std::vector<Payload> payload_list() const;
};

}  // namespace temper
