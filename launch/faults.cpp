#include "launch/faults.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <unistd.h>

#include <boost/program_options/value_semantic.hpp>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <stdexcept>
#include <utility>

namespace temper {
namespace {

namespace fs = std::filesystem;
namespace po = boost::program_options;

constexpr const char* kKinds[] = {"kill", "stop", "slow", "nan", "throw", "disk", "flip"};
constexpr const char* kPlaces[] = {"forward", "comm", "save"};

/// The index of `name` in `names`, or -1.
template <size_t n>
int index_of(const char* const (&names)[n], const std::string& name) {
  for (size_t i = 0; i < n; ++i)
    if (name == names[i]) return static_cast<int>(i);
  return -1;
}

bool parse_number(const std::string& text, int64_t& value) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && at == end && value >= 0;
}

bool strikes_once(FaultKind kind) {
  return kind == FaultKind::kKill || kind == FaultKind::kStop || kind == FaultKind::kThrow;
}

}  // namespace

std::string Fault::text() const {
  std::string text =
      std::to_string(rank) + ":" + std::to_string(step) + ":" + kKinds[static_cast<size_t>(kind)];
  if (place != FaultPlace::kForward) text += std::string("@") + kPlaces[static_cast<size_t>(place)];
  return text;
}

void FaultConfig::add_options(po::options_description& options) {
  options.add_options()(
      "debug.fault", po::value<std::string>(&faults)->default_value(faults)->value_name("LIST"),
      "for tests: faults RANK:STEP:KIND, separated by commas; KIND is kill, stop, slow, nan, "
      "throw, "
      "disk or flip; kill, stop and throw also take a place: kill@forward, kill@comm, kill@save");
}

std::vector<Fault> FaultConfig::parse() const {
  std::vector<Fault> result;
  std::istringstream list(faults);
  for (std::string item; std::getline(list, item, ',');) {
    std::istringstream parts(item);
    std::string rank, step, kind, place = "forward";
    std::getline(parts, rank, ':');
    std::getline(parts, step, ':');
    std::getline(parts, kind);
    if (const size_t at = kind.find('@'); at != std::string::npos) {
      place = kind.substr(at + 1);
      kind.resize(at);
    }
    int64_t rank_number = -1;
    Fault fault;
    const int kind_index = index_of(kKinds, kind), place_index = index_of(kPlaces, place);
    TORCH_CHECK_VALUE(
        parse_number(rank, rank_number) && rank_number <= std::numeric_limits<int>::max() &&
            parse_number(step, fault.step) && kind_index >= 0 && place_index >= 0,
        "--debug.fault has '", item,
        "': give RANK:STEP:KIND with KIND kill, stop, slow, nan, throw, disk or flip, "
        "and for kill, stop and throw @forward, @comm or @save behind it");
    fault.rank = static_cast<int>(rank_number);
    fault.kind = static_cast<FaultKind>(kind_index);
    fault.place = static_cast<FaultPlace>(place_index);
    TORCH_CHECK_VALUE(strikes_once(fault.kind) || fault.place == FaultPlace::kForward,
                      "--debug.fault has '", item, "': only kill, stop and throw take a place");
    result.push_back(fault);
  }
  return result;
}

Faults::Faults(const FaultConfig& config, const Communicator& world, std::string run_dir)
    : run_dir_(std::move(run_dir)) {
  for (const Fault& fault : config.parse()) {
    TORCH_CHECK_VALUE(fault.rank < world.size(), "--debug.fault has ", fault.text(),
                      ", but the ranks are 0 to ", world.size() - 1);
    if (fault.rank == world.rank()) own_.push_back(fault);
  }
}

void Faults::in_forward(int64_t step, const at::Tensor& hidden) {
  if (own_.empty() || step == last_step_) return;
  last_step_ = step;
  for (const Fault& fault : own_) {
    if (fault.kind == FaultKind::kSlow && step >= fault.step)
      usleep(static_cast<useconds_t>(kSlowSeconds * 1e6));
  }
  if (has(FaultKind::kNan, step)) {
    const at::NoGradGuard no_grad;
    at::Tensor values = hidden;  // (N, C)
    values.fill_(std::numeric_limits<double>::quiet_NaN());
  }
  strike(step, FaultPlace::kForward);
}

bool Faults::has(FaultKind kind, int64_t step) const {
  for (const Fault& fault : own_)
    if (fault.kind == kind && fault.step == step) return true;
  return false;
}

void Faults::before_writing(int64_t step, const std::string& folder) const {
  if (!has(FaultKind::kDisk, step)) return;
  throw std::runtime_error("cannot write to " + folder + ": " + std::strerror(ENOSPC) +
                           " (--debug.fault)");
}

void Faults::after_writing(int64_t step, const std::string& file) const {
  if (!has(FaultKind::kFlip, step)) return;
  std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
  const auto middle = static_cast<std::streamoff>(fs::file_size(file) / 2);
  bytes.seekg(middle);
  const int byte = bytes.get();
  bytes.seekp(middle);
  bytes.put(static_cast<char>(byte ^ 1));
  bytes.flush();
  TORCH_CHECK(bytes.good(), "cannot damage ", file);
}

void Faults::strike(int64_t step, FaultPlace place) {
  for (const Fault& fault : own_) {
    if (fault.step != step || fault.place != place || !strikes_once(fault.kind)) continue;
    const std::string mark = run_dir_ + "/fault-" + std::to_string(fault.rank) + "-" +
                             std::to_string(fault.step) + "-" +
                             kKinds[static_cast<size_t>(fault.kind)];
    if (fs::exists(mark)) continue;
    std::ofstream(mark).flush();
    if (fault.kind == FaultKind::kThrow)
      throw std::runtime_error("step " + std::to_string(step) + ": the fault " + fault.text() +
                               " of --debug.fault");
    raise(fault.kind == FaultKind::kKill ? SIGKILL : SIGSTOP);
  }
}

}  // namespace temper
