// manifest.json: what a checkpoint is and which files belong to it, each with size and checksum. It
// is written last, so that a folder without it is no checkpoint; it holds a checksum of itself.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>

#include "data/checksum.h"
#include "launch/stage_identity.h"

namespace temper {

inline constexpr const char* kManifestFile = "manifest.json";

struct CheckpointManifest : StageIdentity {
  CheckpointManifest() = default;
  explicit CheckpointManifest(StageIdentity of) : StageIdentity(std::move(of)) {}

  std::string temper;         ///< version of the code
  int64_t step = 0;           ///< steps that are done
  std::string weights;        ///< checksum of names and places in the flat buffers
  int64_t students = 1;       ///< ranks that wrote it
  int64_t teachers = 0;       ///< teacher ranks at that time
  bool sharded = false;       ///< the optimizer's state was kept in shards
  std::optional<double> nll;  ///< on the fit part, nats per token, where it was measured
  nlohmann::ordered_json totals = nlohmann::ordered_json::object();  ///< of times, tokens, waits
  std::map<std::string, FileSum> files;                              ///< by name in the folder
};

std::string manifest_text(const CheckpointManifest& manifest);

/// Reads DIR/manifest.json. Throws c10::ValueError naming the file and what is wrong with it: it is
/// missing, damaged, or no manifest.
CheckpointManifest read_manifest(const std::string& dir);

/// Checks every `parts`-th file of the checkpoint in `dir`, from number `part` on. Returns "FILE:
/// what is wrong" of the first that is not as it was written; empty: all are.
std::string file_trouble(const CheckpointManifest& manifest, const std::string& dir, int part = 0,
                         int parts = 1);

}  // namespace temper
