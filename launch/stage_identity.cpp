#include "launch/stage_identity.h"

#include <c10/util/Exception.h>

#include "launch/same_training.h"

namespace temper {

void StageIdentity::write(nlohmann::ordered_json& json) const {
  json["stage"] = stage;
  json["seed"] = seed;
  json["data"] = data;
  json["teacher"] = teacher;
  if (!first_weights.empty()) json["first_weights"] = first_weights;
  json["configuration"] = configuration;
}

void StageIdentity::read(const JsonFields& fields) {
  stage = fields.text("stage");
  seed = fields.integer("seed");
  data = fields.text("data");
  teacher = fields.text("teacher");
  first_weights = fields.text("first_weights", "");
  configuration = fields.text("configuration");
}

void StageIdentity::check_same(const StageIdentity& expected, const std::string& path) const {
  check_same_training(configuration, expected.configuration, path);
  const auto same = [&](const char* field, const auto& theirs, const auto& ours,
                        const char* remedy) {
    TORCH_CHECK_VALUE(theirs == ours, path, ": ", field, " is ", theirs, ", here it is ", ours,
                      "; ", remedy);
  };
  same("stage", stage, expected.stage, "name a checkpoint of this stage");
  same("seed", seed, expected.seed, "give the run's own --run.seed");
  same("data", data, expected.data,
       "go on with the data and the tokenizer that the run began with");
  same("teacher", teacher, expected.teacher,
       "go on with the teacher, or the store, that the run began with");
  if (first_weights.empty() || expected.first_weights.empty()) return;
  TORCH_CHECK_VALUE(first_weights == expected.first_weights, path, ": first_weights is ",
                    first_weights, ", here it is ", expected.first_weights, ", by ",
                    expected.first_weights_options,
                    "; go on with the weights that the run began with, name another --run.dir, or "
                    "begin anew with --run.resume no --run.overwrite true");
}

}  // namespace temper
