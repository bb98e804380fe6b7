// fuzz SECONDS [SEED] [TARGET]: mutates valid files and opens them, each target in turn, until the
// time is over. A file must open or be refused with a c10::ValueError. Anything else ends the run
// with status 1 and keeps the file: another exception, a crash or an access out of bounds (built
// with the preset asan), or more memory than a small multiple of the file.
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/mutator.h"
#include "tests/fuzz/targets.h"

#if defined(__SANITIZE_ADDRESS__)
// GCC 12 has these two in its library, and no header for them.
extern "C" {
int __sanitizer_install_malloc_and_free_hooks(void (*on_malloc)(const volatile void*, size_t),
                                              void (*on_free)(const volatile void*));
size_t __sanitizer_get_allocated_size(const volatile void* block);
// LibTorch is not built with the sanitizer: its containers and its own globals say nothing.
const char* __asan_default_options() {
  return "detect_leaks=0:detect_container_overflow=0:max_allocation_size_mb=1024";
}
const char* __ubsan_default_options() { return "halt_on_error=1:print_stacktrace=1"; }
}
#define TEMPER_FUZZ_COUNTS_MEMORY 1
#else
#define TEMPER_FUZZ_COUNTS_MEMORY 0
#endif

namespace temper {
namespace {

namespace fs = std::filesystem;

// JSON takes up to some 16 bytes a character as a tree, and vectors grow by doubling; the constant
// is for tables that any reader makes.
constexpr int64_t kBytesPerByte = 48;
constexpr int64_t kBytesBesides = 8 << 20;

std::atomic<int64_t> held{0}, peak{0};

#if TEMPER_FUZZ_COUNTS_MEMORY
void on_malloc(const volatile void*, size_t bytes) {
  const int64_t now = held += static_cast<int64_t>(bytes);
  int64_t highest = peak;
  while (now > highest && !peak.compare_exchange_weak(highest, now)) {
  }
}
void on_free(const volatile void* block) {
  if (block != nullptr) held -= static_cast<int64_t>(__sanitizer_get_allocated_size(block));
}
#endif

/// Empty where all is well, or what went wrong.
std::string trouble(const FuzzTarget& target, int64_t file_bytes, bool* opened) {
  const int64_t before = held;
  peak = before;
  *opened = false;
  try {
    target.use();
    *opened = true;
  } catch (const c10::ValueError&) {
  } catch (const std::exception& error) {
    return std::string("another exception: ") + error.what();
  }
  const int64_t taken = peak - before;
  if (taken > kBytesPerByte * file_bytes + kBytesBesides)
    return "took " + std::to_string(taken) + " bytes of memory for a file of " +
           std::to_string(file_bytes);
  return {};
}

int run(double seconds, uint64_t seed, const std::string& only) {
  at::set_num_threads(1);
  const fs::path work = fs::temp_directory_path() / ("temper-fuzz-" + std::to_string(::getpid()));
  fs::create_directories(work);
  std::vector<FuzzTarget> targets = fuzz_targets(TEMPER_SOURCE_DIR, work.string());
  if (!only.empty()) std::erase_if(targets, [&](const FuzzTarget& t) { return t.name != only; });
  if (targets.empty()) {
    std::fprintf(stderr, "no target named %s\n", only.c_str());
    return 2;
  }
#if TEMPER_FUZZ_COUNTS_MEMORY
  __sanitizer_install_malloc_and_free_hooks(on_malloc, on_free);
#endif
  std::vector<int64_t> runs(targets.size()), accepted(targets.size());
  Mutator mutator(seed);
  const auto start = std::chrono::steady_clock::now();
  const auto elapsed = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  for (size_t turn = 0; elapsed() < seconds; ++turn) {
    const size_t index = turn % targets.size();
    const FuzzTarget& target = targets[index];
    // The first time round, as they are: the seeds must open.
    const bool whole = turn < targets.size();
    const std::string bytes = whole ? target.seeds.front() : mutator.mutated(target.seeds);
    const std::string path = (work / target.file).string();
    std::ofstream(path, std::ios::binary) << bytes;
    // Kept on the disk while it is opened: a crash leaves it there.
    bool opened = false;
    std::string what = trouble(target, static_cast<int64_t>(bytes.size()), &opened);
    if (whole && !opened) what = "the seed itself was refused";
    if (!what.empty()) {
      std::fprintf(stderr, "fuzz: %s, seed %llu, turn %zu: %s\nfuzz: the file is %s\n",
                   target.name.c_str(), static_cast<unsigned long long>(seed), turn, what.c_str(),
                   path.c_str());
      return 1;
    }
    ++runs[index];
    accepted[index] += opened;
  }
  for (size_t i = 0; i < targets.size(); ++i) {
    std::printf("fuzz: %-14s %8lld files, %lld of them opened\n", targets[i].name.c_str(),
                static_cast<long long>(runs[i]), static_cast<long long>(accepted[i]));
  }
  fs::remove_all(work);
  return 0;
}

}  // namespace
}  // namespace temper

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 20;
  const uint64_t seed = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 1;
  return temper::run(seconds, seed, argc > 3 ? argv[3] : "");
}
