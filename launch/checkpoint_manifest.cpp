#include "launch/checkpoint_manifest.h"

#include <c10/util/Exception.h>

#include <filesystem>

#include "data/json_input.h"
#include "data/sealed_json.h"

namespace temper {

namespace {

namespace fs = std::filesystem;

constexpr const char* kFormat = "temper checkpoint 1";
constexpr int64_t kMaxBytes = 64 << 20;

/// No path, nor anything else that leaves the folder.
bool is_plain_name(const std::string& name) {
  return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos;
}

}  // namespace

std::string manifest_text(const CheckpointManifest& manifest) {
  nlohmann::ordered_json json;
  json["format"] = kFormat;
  json["temper"] = manifest.temper;
  json["step"] = manifest.step;
  manifest.write(json);
  json["weights"] = manifest.weights;
  json["layout"] = {{"students", manifest.students},
                    {"teachers", manifest.teachers},
                    {"sharded_optimizer", manifest.sharded}};
  if (manifest.nll) json["nll"] = *manifest.nll;
  json["totals"] = manifest.totals;
  json["files"] = nlohmann::ordered_json::object();
  for (const auto& [name, sum] : manifest.files)
    json["files"][name] = {{"bytes", sum.bytes}, {"xxh3_128", sum.checksum}};
  return sealed_json_text(std::move(json));
}

CheckpointManifest read_manifest(const std::string& dir) {
  const std::string path = dir + "/" + kManifestFile;
  const nlohmann::json json = read_sealed_json_file(path, kMaxBytes);
  const JsonFields fields(json, path);
  if (fields.text("format") != kFormat) fields.refuse("format", "this temper reads another one");
  CheckpointManifest manifest;
  manifest.temper = fields.text("temper");
  manifest.read(fields);
  manifest.step = fields.integer("step");
  manifest.weights = fields.text("weights");
  const JsonFields layout(fields.object("layout"), path);
  manifest.students = layout.integer("students");
  manifest.teachers = layout.integer("teachers");
  manifest.sharded = layout.boolean("sharded_optimizer", false);
  if (fields.has("nll")) manifest.nll = fields.number("nll");
  manifest.totals = fields.object("totals");
  for (const auto& [name, entry] : fields.object("files").items()) {
    TORCH_CHECK_VALUE(is_plain_name(name) && entry.is_object(), path, ": '", name,
                      "' is no file of a checkpoint");
    const JsonFields sum(entry, path);
    manifest.files[name] = {sum.integer("bytes"), sum.text("xxh3_128")};
  }
  return manifest;
}

std::string file_trouble(const CheckpointManifest& manifest, const std::string& dir, int part,
                         int parts) {
  int number = 0;
  for (const auto& [name, sum] : manifest.files) {
    if (number++ % parts != part) continue;
    const std::string path = dir + "/" + name;
    std::error_code failure;
    const auto bytes = static_cast<int64_t>(fs::file_size(path, failure));
    if (failure) return path + ": " + failure.message();
    if (bytes != sum.bytes) {
      return c10::str(path, ": ", bytes < sum.bytes ? "truncated: " : "damaged: ", bytes,
                      " bytes, and ", kManifestFile, " says ", sum.bytes);
    }
    std::string found;
    try {
      found = bytes == 0 ? hex_text(checksum({})) : file_checksum(path);
    } catch (const c10::Error& error) {
      return error.what_without_backtrace();
    }
    if (found != sum.checksum) {
      return c10::str(path, ": damaged: its checksum is ", found, ", and ", kManifestFile, " says ",
                      sum.checksum);
    }
  }
  return "";
}

}  // namespace temper
