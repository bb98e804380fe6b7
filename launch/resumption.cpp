#include "launch/resumption.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <vector>

#include "comm/agree.h"
#include "data/atomic_file.h"
#include "data/json_input.h"
#include "launch/checkpoint_folder.h"
#include "launch/progress.h"
#include "launch/run_folder.h"

namespace temper {

namespace {

namespace fs = std::filesystem;

constexpr const char* kCheckpoints = "checkpoints";
constexpr int64_t kMaxResultBytes = 16 << 20;

fs::path resolved(const std::string& path) {
  std::error_code failure;
  const fs::path found = fs::canonical(path, failure);
  TORCH_CHECK_VALUE(!failure, "--run.resume ", path, ": ", failure.message(),
                    "; give no, auto, or a checkpoint such as RUN/checkpoints/step-00000100");
  return found;
}

bool is_stage(const std::string& name) {
  return name == "train" || name == "teacher" || name.starts_with("distilled-") ||
         name.starts_with("hard-labels-");
}

/// The files of results; others in the folder are not ours.
std::vector<fs::path> result_files(const fs::path& dir) {
  std::vector<fs::path> files;
  std::error_code ignored;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, ignored)) {
    if (entry.path().extension() == ".json" && is_stage(entry.path().stem().string()))
      files.push_back(entry.path());
  }
  return files;
}

nlohmann::json read_results(const fs::path& dir) {
  nlohmann::json results = nlohmann::json::object();
  for (const fs::path& file : result_files(dir))
    results[file.stem().string()] = read_json_file(file.string(), kMaxResultBytes);
  return results;
}

/// What a finished stage's file is of. Throws c10::ValueError where it does not say it.
StageIdentity identity_of_result(const nlohmann::json& file, const std::string& path) {
  const JsonFields fields(file, path);
  TORCH_CHECK_VALUE(fields.has("configuration") && fields.has("result"), path,
                    ": does not say of which data, teacher and configuration it is the result, as "
                    "files of earlier versions of temper do not; remove it, and the stage is done "
                    "again, or begin anew with --run.resume no --run.overwrite true");
  StageIdentity of;
  of.read(fields);
  return of;
}

}  // namespace

std::string run_of_checkpoint(const std::string& path) {
  fs::path at = resolved(path);
  TORCH_CHECK_VALUE(
      fs::is_directory(at) && at.filename().string().starts_with("step-"), "--run.resume ", path,
      " is no checkpoint; give no, auto, or a folder such as RUN/checkpoints/step-00000100");
  for (int up = 0; up < 2; ++up) {
    at = at.parent_path();
    if (at.filename() == kCheckpoints) return at.parent_path().string();
  }
  TORCH_CHECK_VALUE(false, "--run.resume ", path, " lies in no run folder: a checkpoint is ",
                    "RUN/checkpoints/step-N");
}

Resumption::Resumption(std::string resume, std::string run_dir, std::string main_stage,
                       std::string ini, const Communicator& world)
    : resume_(std::move(resume)),
      run_dir_(std::move(run_dir)),
      main_stage_(std::move(main_stage)),
      ini_(std::move(ini)),
      world_(world) {
  std::string text;
  agree(world_, [&] {
    if (world_.rank() != 0) return;
    const std::string stages = run_dir_ + "/stages", all = run_dir_ + "/" + kCheckpoints;
    std::error_code ignored;
    remove_unfinished_run_files(run_dir_);
    if (resume_ == "no") {
      // The configuration last: nothing of the old run must stand beside the new one's.
      for (const fs::path& file : result_files(stages)) fs::remove(file, ignored);
      remove_checkpoints(all);
      clear_run_folder(run_dir_);
    }
    // That of a run that goes on stays until it does.
    if (resume_ == "no" || !has_run_configuration(run_dir_))
      write_run_configuration(run_dir_, ini_);
    mend_checkpoints(all);
    nlohmann::json results = read_results(stages);
    const bool goes_on = !results.empty() || has_checkpoints(all);
    if (resume_ != "no" && resume_ != "auto") {
      // What came after the checkpoint is done again.
      const fs::path parent = resolved(resume_).parent_path();
      const std::string stage = parent == resolved(all) ? main_stage_ : parent.filename().string();
      for (const auto& [name, result] : results.items()) {
        if (name == stage || (stage == main_stage_ && name != "teacher")) later_.push_back(name);
      }
      for (const std::string& name : later_) results.erase(name);
    }
    text = nlohmann::json{{"results", results}, {"goes_on", goes_on}}.dump();
  });
  const nlohmann::json known = nlohmann::json::parse(world_.broadcast(text, 0));
  results_ = known.at("results");
  goes_on_ = known.at("goes_on");
}

std::string Resumption::stage_file(const std::string& stage) const {
  return run_dir_ + "/stages/" + stage + ".json";
}

std::optional<nlohmann::json> Resumption::result(const StageIdentity& expected) const {
  const auto found = results_.find(expected.stage);
  if (found == results_.end()) return std::nullopt;
  const std::string path = stage_file(expected.stage);
  agree(world_, [&] { identity_of_result(*found, path).check_same(expected, path); });
  return found->at("result");
}

void Resumption::finish(const StageIdentity& of, const nlohmann::ordered_json& result) const {
  const std::string dir = run_dir_ + "/stages";
  std::error_code failure;
  fs::create_directories(dir, failure);
  TORCH_CHECK(!failure, "cannot make the folder ", dir, ": ", failure.message());
  nlohmann::ordered_json file;
  of.write(file);
  file["result"] = result;
  write_text_file(stage_file(of.stage), file.dump(2) + "\n");
  if (of.stage == main_stage_) return;
  remove_checkpoints(checkpoints(of.stage));
  fs::remove(checkpoints(of.stage), failure);  // if it is empty now
}

std::string Resumption::checkpoints(const std::string& stage) const {
  const std::string all = run_dir_ + "/" + kCheckpoints;
  return stage == main_stage_ ? all : all + "/" + stage;
}

StageIdentity Resumption::identity(const std::string& stage, uint64_t seed, uint64_t data) const {
  StageIdentity identity;
  identity.stage = stage;
  identity.seed = static_cast<int64_t>(seed);
  identity.data = format("%016llx", static_cast<unsigned long long>(data));
  identity.configuration = ini_;
  return identity;
}

/// The stage goes on from `point`, or begins. On rank 0.
void Resumption::take(const ResumePoint& point, bool named) const {
  write_run_configuration(run_dir_, ini_);
  const fs::path path(point.dir);
  if (!named && !point.dir.empty())
    point_latest(path.parent_path().string(), path.filename().string());
  if (!named) return;
  // Or the next `auto` would take what the run was to go back from.
  const int64_t removed =
      remove_later_checkpoints(path.parent_path().string(), path.filename().string());
  std::error_code failure;
  for (const std::string& stage : later_) {
    fs::remove(stage_file(stage), failure);
    TORCH_CHECK(!failure, "cannot remove ", stage_file(stage), ": ", failure.message());
  }
  std::string words = removed == 0 ? "" : std::to_string(removed) + " checkpoint";
  if (removed > 1) words += "s";
  for (const std::string& stage : later_)
    words += (words.empty() ? "" : ", ") + ("the result of " + stage);
  if (!words.empty()) say("resume  removed, since they came after it: " + words);
}

ResumePoint Resumption::point(const StageIdentity& expected) const {
  if (resume_ == "no") return {};
  world_.barrier();  // without holding a core: teachers may be here long before students
  const bool speaks = world_.rank() == 0;
  const std::string dir = checkpoints(expected.stage);
  bool named = false;
  std::string list;  // newest first
  agree(world_, [&] {
    if (!speaks) return;
    if (resume_ != "auto") {
      const fs::path path = resolved(resume_);
      std::error_code none;
      named = path.parent_path() == fs::weakly_canonical(dir, none);
      if (named) list = path.string() + "\n";
    }
    if (named) return;
    std::vector<int64_t> steps = checkpoint_steps(dir);
    std::reverse(steps.begin(), steps.end());
    for (const int64_t step : steps) list += dir + "/" + checkpoint_name(step) + "\n";
  });
  std::istringstream candidates(world_.broadcast(list, 0));
  std::string damage;  // of newer ones
  for (ResumePoint point; std::getline(candidates, point.dir);) {
    std::string trouble;
    try {
      point.manifest = read_manifest(point.dir);
      trouble = file_trouble(point.manifest, point.dir, world_.rank(), world_.size());
    } catch (const c10::Error& error) {
      trouble = error.what_without_backtrace();
    }
    for (const std::string& each : world_.all_gather(trouble)) {
      if (trouble.empty()) trouble = each;
    }
    trouble = world_.broadcast(trouble, 0);
    if (trouble.empty()) {
      agree(world_, [&] { point.manifest.check_same(expected, point.dir + "/" + kManifestFile); });
      if (speaks) {
        if (!damage.empty()) say("warning: " + damage + "; going back to an earlier checkpoint");
        say(format("resume  %s: step %lld, saved by %lld student%s and %lld teacher%s",
                   point.dir.c_str(), static_cast<long long>(point.manifest.step),
                   static_cast<long long>(point.manifest.students),
                   point.manifest.students == 1 ? "" : "s",
                   static_cast<long long>(point.manifest.teachers),
                   point.manifest.teachers == 1 ? "" : "s"));
      }
      agree(world_, [&] {
        if (speaks) take(point, named);
      });
      return point;
    }
    damage += (damage.empty() ? "" : "; ") + trouble;
  }
  agree(world_, [&] {
    TORCH_CHECK_VALUE(damage.empty(), "no checkpoint in ", dir, " can be used: ", damage,
                      "; begin anew with --run.resume no --run.overwrite true");
  });
  if (speaks)
    say("resume  " + dir + ": no checkpoint of " + expected.stage + " yet, it begins at step 0");
  agree(world_, [&] {
    if (speaks) take({}, /*named=*/false);
  });
  return {};
}

}  // namespace temper
