// The folder that holds a stage's checkpoints, and how one comes to be: files under a temporary
// name, the manifest last, one rename. Whatever moment a job is killed at, what stands under
// step-N is whole. Nothing here communicates.
//
//   step-00000100/   model files as `transformers` opens them, config.json, tokenizer;
//                    state-R-of-N.safetensors of each rank (optimizer); manifest.json
//   latest, best     links to the newest one, and to the one with the lowest NLL
//   step-….tmp       is being written or removed, or was when the job was killed
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer_files.h"
#include "launch/checkpoint_manifest.h"
#include "model/safetensors.h"

namespace temper {

/// "step-00000100".
std::string checkpoint_name(int64_t step);

/// The steps whose folders are there, complete or damaged, ascending.
std::vector<int64_t> checkpoint_steps(const std::string& dir);

/// What one rank writes of a checkpoint: copies in memory, so that training goes on meanwhile.
struct CheckpointPart {
  std::vector<std::pair<std::string, std::vector<std::pair<std::string, at::Tensor>>>>
      tensors;  ///< file, its tensors by name
  std::vector<TokenizerFile> texts;
};

/// The folder in which the checkpoint of `step` is written, DIR/step-N.tmp. Makes it, empty. Throws
/// c10::Error naming path and reason.
std::string make_temporary_checkpoint(const std::string& dir, int64_t step);

/// Writes and syncs the files of a part. Throws c10::Error naming path, bytes and reason.
std::map<std::string, FileSum> write_part(const std::string& folder, const CheckpointPart& part);

/// Makes of the temporary folder of manifest.step, which has all its files, the checkpoint: writes
/// the manifest, renames, moves the links, and removes what is older than the `keep` newest ones
/// (0: nothing), but never the best. Throws c10::Error naming path and reason; the checkpoints that
/// were there are intact then.
void publish_checkpoint(const std::string& dir, const CheckpointManifest& manifest, int64_t keep);

/// Removes DIR/step-N.tmp.
void remove_temporary_checkpoint(const std::string& dir, int64_t step);

/// Whether `dir` or a folder of its stages holds a checkpoint.
bool has_checkpoints(const std::string& dir);

/// Goes back to the checkpoint DIR/NAME: removes those of later steps, and the links point to what
/// is left. Returns how many went. Throws c10::Error naming the path where one cannot be removed.
int64_t remove_later_checkpoints(const std::string& dir, const std::string& name);

/// `latest` points to the checkpoint DIR/NAME, from which a run goes on: a newer one is damaged.
void point_latest(const std::string& dir, const std::string& name);

/// Mends what a killed job left half done in `dir` and in the folders of its stages: removes what
/// has a temporary name, and puts back a checkpoint that was about to be replaced and was not.
/// `latest` and `best` then point to the newest checkpoint and to the one with the lowest NLL, of
/// those that have all their files in their sizes; without one they are removed.
void mend_checkpoints(const std::string& dir);

/// Removes all checkpoints, links and temporary folders in `dir` and in the folders of its stages.
/// Other files are not touched.
void remove_checkpoints(const std::string& dir);

}  // namespace temper
