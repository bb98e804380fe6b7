// Time and memory of temper's fit of the temperature when the logits are given; calibration.sh runs
// it beside its peers.
//
//   calibration_bench FILE [TOKENS] [THREADS]
//
// FILE is a safetensors file with `logits` (N, V) float32 and `labels` (N) int64, of which the
// first TOKENS are used. In temper itself a chunk's logits come out of the model, and no more than
// one chunk is ever there: so what counts is the memory beyond the given logits.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <malloc.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>

#include "model/safetensors.h"
#include "student/calibration.h"

namespace temper {
namespace {

/// A line of /proc/self/status, in MiB.
double status_mib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with(field + ":")) return std::stod(line.substr(field.size() + 1)) / 1024;
  }
  return 0;
}

void run(const std::string& path, int64_t tokens, int threads) {
  at::set_num_threads(threads);
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);  // as the program does: launch/machine.cpp
  mallopt(M_TRIM_THRESHOLD, 512 << 20);
#endif
  at::Tensor logits, labels;
  {
    const SafetensorsFile file(path);
    logits = file.tensor("logits").clone();  // (N, V)
    labels = file.tensor("labels").clone();  // (N)
  }
  if (tokens > 0 && tokens < logits.size(0)) {
    logits = logits.narrow(0, 0, tokens);
    labels = labels.narrow(0, 0, tokens);
  }
  // Rows at a time as in student/evaluation.cpp.
  const int64_t chunk = std::max<int64_t>(16, (int64_t{4} << 20) / logits.size(1));

  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const double before = status_mib("VmRSS");
  const auto start = std::chrono::steady_clock::now();
  const CalibrationFit fit = fit_temperature([&](double beta) {
    CalibrationSums sums;
    for (int64_t begin = 0; begin < logits.size(0); begin += chunk) {
      const int64_t rows = std::min(chunk, logits.size(0) - begin);
      sums += calibration_sums(logits.narrow(0, begin, rows), labels.narrow(0, begin, rows), beta);
    }
    return sums;
  });
  const double seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  std::printf("{\"seconds\": %.6f, \"temperature\": %.8f, \"passes\": %d, \"extra_mib\": %.1f}\n",
              seconds, fit.temperature, fit.passes, status_mib("VmHWM") - before);
}

}  // namespace
}  // namespace temper

int main(int argc, char** argv) {
  try {
    if (argc < 2) throw std::runtime_error("usage: calibration_bench FILE [TOKENS] [THREADS]");
    temper::run(argv[1], argc > 2 ? std::stoll(argv[2]) : 0, argc > 3 ? std::stoi(argv[3]) : 2);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "calibration_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
