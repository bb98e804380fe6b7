// What a distillation came to: summary.json, and the words at the end of the screen.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "launch/results.h"
#include "launch/training.h"

namespace temper {

struct DistillSummary {
  std::vector<ModelResult> results;  ///< teacher first, then each seed's students
  TrainingSummary training;          ///< of the run's student
  std::optional<double> floor;  ///< NLL of the process that wrote the test part, on the test part
  std::optional<EntropyRate> entropy_rate;

  /// Whether the soft targets came from a store: then no teacher was there to be measured.
  bool replays() const;
};

nlohmann::ordered_json to_json(const DistillSummary& summary);

/// Table and checks, for a person.
std::string to_text(const DistillSummary& summary);

}  // namespace temper
