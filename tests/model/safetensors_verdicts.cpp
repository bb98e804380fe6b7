// safetensors_verdicts DIR: opens every file of DIR as safetensors and prints a line for each, in
// the order of their names: NAME, a tab, and `opened` or why it was refused. For
// tests/peers/safetensors.sh.
#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

#include "model/safetensors.h"

namespace {

std::string verdict(const std::filesystem::path& path) {
  try {
    const temper::SafetensorsFile file(path.string());
    for (const std::string& name : file.names()) file.tensor(name);
    return "opened";
  } catch (const c10::ValueError& error) {
    std::string reason = error.what_without_backtrace();
    std::replace(reason.begin(), reason.end(), '\n', ' ');
    return "refused: " + reason;
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: safetensors_verdicts DIR\n");
    return 2;
  }
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(argv[1]))
    paths.push_back(entry.path());
  std::sort(paths.begin(), paths.end());
  for (const auto& path : paths)
    std::printf("%s\t%s\n", path.filename().c_str(), verdict(path).c_str());
  return 0;
}
