#include "launch/checkpoint_folder.h"

#include <c10/util/Exception.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <optional>

#include "data/atomic_file.h"

namespace temper {

namespace {

namespace fs = std::filesystem;

constexpr const char* kTemporary = ".tmp";
constexpr const char* kReplaced = ".old.tmp";
constexpr const char* kLatest = "latest";
constexpr const char* kBest = "best";

/// The step of a name that checkpoint_name() gives.
std::optional<int64_t> step_of(const std::string& name) {
  constexpr std::string_view kPrefix = "step-";
  const std::string digits = name.substr(std::min(name.size(), kPrefix.size()));
  if (!name.starts_with(kPrefix) || digits.size() < 8 || digits.size() > 18 ||
      digits.find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoll(digits);
}

bool is_temporary(const std::string& name) {
  return name.starts_with("step-") && name.ends_with(kTemporary);
}

void rename_folder(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) == 0) return;
  const int reason = errno;
  TORCH_CHECK(reason == ENOTEMPTY || reason == EEXIST, "cannot rename ", from, " to ", to, ": ",
              std::strerror(reason));
  // A step that is trained again, after a damaged or a chosen earlier checkpoint.
  const std::string old = to + kReplaced;
  if (::renameat2(AT_FDCWD, from.c_str(), AT_FDCWD, to.c_str(), RENAME_EXCHANGE) != 0) {
    TORCH_CHECK(::rename(to.c_str(), old.c_str()) == 0 && ::rename(from.c_str(), to.c_str()) == 0,
                "cannot rename ", from, " to ", to, ": ", std::strerror(errno));
  }
  std::error_code ignored;
  fs::remove_all(from, ignored);
  fs::remove_all(old, ignored);
}

/// DIR/LINK points to `name`, from one moment to the next. On a file system without links there is
/// none: they are for people and scripts.
void point(const std::string& dir, const char* link, const std::string& name) {
  const std::string path = dir + "/" + link, temporary = path + kTemporary;
  ::unlink(temporary.c_str());
  if (::symlink(name.c_str(), temporary.c_str()) != 0) {
    TORCH_CHECK(errno == EPERM || errno == EOPNOTSUPP || errno == ENOSYS, "cannot write ", path,
                ": ", std::strerror(errno));
    return;
  }
  TORCH_CHECK(::rename(temporary.c_str(), path.c_str()) == 0, "cannot write ", path, ": ",
              std::strerror(errno));
}

/// The step that a link points to, whether its checkpoint is there or not.
std::optional<int64_t> step_behind(const std::string& dir, const char* link) {
  std::error_code none;
  const fs::path target = fs::read_symlink(dir + "/" + link, none);
  return none ? std::nullopt : step_of(target.string());
}

std::optional<int64_t> best_step(const std::string& dir) { return step_behind(dir, kBest); }

/// Of the checkpoint of `step`; nothing where it was not measured, or the manifest is not whole.
std::optional<double> nll_of(const std::string& dir, int64_t step) {
  try {
    return read_manifest(dir + "/" + checkpoint_name(step)).nll;
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

bool beats_the_best(const std::string& dir, int64_t step, std::optional<double> nll) {
  if (!nll) return false;
  const std::optional<int64_t> best = best_step(dir);
  if (!best || *best == step) return true;
  const std::optional<double> other = nll_of(dir, *best);  // nothing: it is gone
  return !other || *nll < *other;
}

/// First under a temporary name, so that nobody takes half of it for a damaged checkpoint.
void remove_checkpoint(const std::string& dir, int64_t step) {
  const std::string path = dir + "/" + checkpoint_name(step), temporary = path + kTemporary;
  std::error_code ignored;
  fs::rename(path, temporary, ignored);
  fs::remove_all(temporary, ignored);
}

/// The manifest of a checkpoint that has all its files in their sizes; what is in them is not read.
std::optional<CheckpointManifest> complete_manifest(const std::string& path) {
  try {
    CheckpointManifest manifest = read_manifest(path);
    for (const auto& [name, sum] : manifest.files) {
      std::error_code failure;
      const auto bytes = static_cast<int64_t>(fs::file_size(path + "/" + name, failure));
      if (failure || bytes != sum.bytes) return std::nullopt;
    }
    return manifest;
  } catch (const c10::Error&) {
    return std::nullopt;
  }
}

void remove_link(const std::string& dir, const char* link) {
  std::error_code ignored;
  const fs::path path = dir + "/" + link;
  if (fs::is_symlink(fs::symlink_status(path, ignored))) fs::remove(path, ignored);
}

/// Calls use(name, path) for what is in `dir`.
template <typename Use>
void for_each_entry(const fs::path& dir, const Use& use) {
  std::error_code ignored;
  std::vector<fs::path> paths;
  for (const fs::directory_entry& entry : fs::directory_iterator(dir, ignored))
    paths.push_back(entry.path());
  for (const fs::path& path : paths) use(path.filename().string(), path);
}

/// Where rename_folder() was cut between its two renames, the checkpoint that it replaces stands
/// under a temporary name alone.
void put_back_replaced(const std::string& dir) {
  for_each_entry(dir, [&](const std::string& name, const fs::path& path) {
    if (!name.ends_with(kReplaced)) return;
    const std::string old = name.substr(0, name.size() - std::string_view(kReplaced).size());
    std::error_code ignored;
    if (step_of(old) && !fs::exists(dir + "/" + old, ignored) && complete_manifest(path.string()))
      fs::rename(path, dir + "/" + old, ignored);
  });
}

void remove_temporary_entries(const std::string& dir) {
  for_each_entry(dir, [&](const std::string& name, const fs::path& path) {
    std::error_code ignored;
    const bool link =
        name == std::string(kLatest) + kTemporary || name == std::string(kBest) + kTemporary;
    if (is_temporary(name) || link) fs::remove_all(path, ignored);
  });
}

/// The link points to the checkpoint of `step`, or is not there. What is no link is left alone.
void mend_link(const std::string& dir, const char* link, std::optional<int64_t> step) {
  if (!step) return remove_link(dir, link);
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(dir + "/" + link, ignored);
  if (fs::exists(status) && !fs::is_symlink(status)) return;
  if (step_behind(dir, link) != step) point(dir, link, checkpoint_name(*step));
}

/// As publish_checkpoint() would have left them: a save or a removal may have been cut before it
/// moved them.
void mend_links(const std::string& dir) {
  std::optional<int64_t> newest, best;
  double lowest = 0;
  for (const int64_t step : checkpoint_steps(dir)) {
    const auto manifest = complete_manifest(dir + "/" + checkpoint_name(step));
    if (!manifest) continue;
    newest = step;
    if (manifest->nll && (!best || *manifest->nll < lowest)) {
      best = step;
      lowest = *manifest->nll;
    }
  }
  mend_link(dir, kLatest, newest);
  mend_link(dir, kBest, best);
}

/// `dir` and the folders of stages in it.
std::vector<fs::path> with_stages(const std::string& dir) {
  std::vector<fs::path> all = {dir};
  for_each_entry(dir, [&](const std::string& name, const fs::path& path) {
    std::error_code ignored;
    if (fs::is_directory(fs::symlink_status(path, ignored)) && !name.starts_with("step-"))
      all.push_back(path);
  });
  return all;
}

}  // namespace

std::string checkpoint_name(int64_t step) {
  char name[32];
  std::snprintf(name, sizeof name, "step-%08lld", static_cast<long long>(step));
  return name;
}

std::vector<int64_t> checkpoint_steps(const std::string& dir) {
  std::vector<int64_t> steps;
  for_each_entry(dir, [&](const std::string& name, const fs::path& path) {
    std::error_code ignored;
    if (const auto step = step_of(name); step && fs::is_directory(path, ignored))
      steps.push_back(*step);
  });
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string make_temporary_checkpoint(const std::string& dir, int64_t step) {
  const std::string path = dir + "/" + checkpoint_name(step) + kTemporary;
  std::error_code failure;
  fs::remove_all(path, failure);
  fs::create_directories(path, failure);
  TORCH_CHECK(!failure, "cannot make the folder ", path, ": ", failure.message());
  return path;
}

std::map<std::string, FileSum> write_part(const std::string& folder, const CheckpointPart& part) {
  std::map<std::string, FileSum> sums;
  for (const auto& [name, tensors] : part.tensors)
    sums[name] = write_safetensors(folder + "/" + name, tensors);
  for (const TokenizerFile& file : part.texts) {
    write_text_file(folder + "/" + file.name, file.content);
    sums[file.name] = {static_cast<int64_t>(file.content.size()), hex_text(checksum(file.content))};
  }
  return sums;
}

void publish_checkpoint(const std::string& dir, const CheckpointManifest& manifest, int64_t keep) {
  const std::string name = checkpoint_name(manifest.step);
  const std::string temporary = dir + "/" + name + kTemporary;
  write_text_file(temporary + "/" + kManifestFile, manifest_text(manifest));
  rename_folder(temporary, dir + "/" + name);
  sync_folder(dir);
  point(dir, kLatest, name);
  if (beats_the_best(dir, manifest.step, manifest.nll)) point(dir, kBest, name);
  sync_folder(dir);
  if (keep == 0) return;
  const std::optional<int64_t> best = best_step(dir);
  // Newer ones are of an earlier attempt, and say nothing about these.
  std::vector<int64_t> steps = checkpoint_steps(dir);
  std::erase_if(steps, [&](int64_t step) { return step > manifest.step; });
  for (size_t i = 0; i + static_cast<size_t>(keep) < steps.size(); ++i) {
    if (best != steps[i]) remove_checkpoint(dir, steps[i]);
  }
}

void remove_temporary_checkpoint(const std::string& dir, int64_t step) {
  std::error_code ignored;
  fs::remove_all(dir + "/" + checkpoint_name(step) + kTemporary, ignored);
}

bool has_checkpoints(const std::string& dir) {
  const std::vector<fs::path> folders = with_stages(dir);
  return std::any_of(folders.begin(), folders.end(), [](const fs::path& folder) {
    return !checkpoint_steps(folder.string()).empty();
  });
}

void point_latest(const std::string& dir, const std::string& name) {
  mend_link(dir, kLatest, step_of(name));
}

int64_t remove_later_checkpoints(const std::string& dir, const std::string& name) {
  const std::optional<int64_t> last = step_of(name), best = best_step(dir);
  if (!last) return 0;
  // The links first: they never point to what is gone.
  point(dir, kLatest, name);
  if (best && *best > *last) {
    remove_link(dir, kBest);
    for (const int64_t step : checkpoint_steps(dir)) {
      if (step <= *last && beats_the_best(dir, step, nll_of(dir, step)))
        point(dir, kBest, checkpoint_name(step));
    }
  }
  int64_t removed = 0;
  for (const int64_t step : checkpoint_steps(dir)) {
    if (step <= *last) continue;
    remove_checkpoint(dir, step);
    const std::string path = dir + "/" + checkpoint_name(step);
    std::error_code ignored;
    TORCH_CHECK(!fs::exists(path, ignored), "cannot remove ", path);
    ++removed;
  }
  sync_folder(dir);
  return removed;
}

void mend_checkpoints(const std::string& dir) {
  for (const fs::path& folder : with_stages(dir)) {
    put_back_replaced(folder.string());  // before what has a temporary name goes
    remove_temporary_entries(folder.string());
    mend_links(folder.string());
  }
}

void remove_checkpoints(const std::string& dir) {
  for (const fs::path& folder : with_stages(dir)) {
    remove_temporary_entries(folder.string());
    for (const int64_t step : checkpoint_steps(folder.string()))
      remove_checkpoint(folder.string(), step);
    std::error_code ignored;
    for (const char* link : {kLatest, kBest}) remove_link(folder.string(), link);
    if (folder != dir) fs::remove(folder, ignored);  // if it is empty now
  }
}

}  // namespace temper
