// One program for all readers, under libFuzzer (https://llvm.org/docs/LibFuzzer.html):
//
//   fuzz --list                      the targets' names
//   fuzz --list-planted              those of targets with a fault, which must be found
//   fuzz TARGET --seeds DIR          writes DIR/seeds/N and DIR/words.dict; the seeds must open
//   fuzz TARGET [libFuzzer's options and folders]
//
// A mutant must open or be refused with a c10::ValueError. Anything else ends the run and keeps the
// input: another exception, what the sanitizers find, or more memory than a small multiple of the
// input.
#include <ATen/Parallel.h>
#include <c10/util/Exception.h>
#include <c10/util/Logging.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "tests/fuzz/memory.h"
#include "tests/fuzz/targets.h"

// LibTorch is not built with the sanitizers: its containers and its own globals say nothing.
extern "C" const char* __asan_default_options() {
  return "detect_leaks=0:detect_container_overflow=0:max_allocation_size_mb=1024";
}
extern "C" const char* __ubsan_default_options() { return "halt_on_error=1:print_stacktrace=1"; }

namespace temper {
namespace {

namespace fs = std::filesystem;

// JSON takes up to some 16 bytes a character as a tree, and vectors grow by doubling; the constant
// is for tables that any reader makes.
constexpr int64_t kBytesPerByte = 48;
constexpr int64_t kBytesBesides = 8 << 20;

// Where arithmetic on sizes goes wrong, and what JSON's grammar trips over.
const std::vector<std::string> kWordsForAll = {"0",
                                               "-1",
                                               "1e999",
                                               "-0.0",
                                               "2147483648",
                                               "4294967296",
                                               "9223372036854775807",
                                               "null",
                                               "true",
                                               "9223372036854775808",
                                               "18446744073709551616",
                                               "1e-320",
                                               "[]",
                                               "{}",
                                               "\"\"",
                                               "\\u0000",
                                               "\\ud800",
                                               "\xff\xfe",
                                               "\xef\xbb\xbf"};

std::vector<FuzzTarget> all_targets() {
  std::vector<FuzzTarget> all;
  for (const auto& list :
       {data_targets(), model_targets(), store_targets(), launch_targets(), checkpoint_targets()})
    all.insert(all.end(), list.begin(), list.end());
  return all;
}

struct Session {
  std::string name;
  std::string work;
  FuzzReader reader;
  int64_t inputs = 0, opened = 0;
};
Session* session = nullptr;  // libFuzzer calls back without an argument of ours

void end_session() {
  std::fprintf(stderr, "fuzz: %s: %lld inputs, %lld of them opened\n", session->name.c_str(),
               static_cast<long long>(session->inputs), static_cast<long long>(session->opened));
  std::error_code ignored;
  fs::remove_all(session->work, ignored);
}

void begin_session(const FuzzTarget& target) {
  std::string work = (fs::temp_directory_path() / "temper-fuzz-XXXXXX").string();
  TORCH_CHECK(::mkdtemp(work.data()) != nullptr, "no folder ", work, " can be made");
  session = new Session{target.name, work, {}, 0, 0};
  std::atexit(end_session);
  session->reader = target.open(work);
}

/// Why the input was refused; nothing where it opened.
std::optional<std::string> refusal(const std::string& bytes) {
  try {
    session->reader.use(bytes);
    return std::nullopt;
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
}

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "fuzz: %s: %s\n", session->name.c_str(), what.c_str());
  std::abort();
}

void write_seeds(const std::string& dir) {
  fs::create_directories(dir + "/seeds");
  for (size_t i = 0; i < session->reader.seeds.size(); ++i) {
    const std::string& seed = session->reader.seeds[i];
    if (const auto reason = refusal(seed))
      fail("seed " + std::to_string(i) + " was refused: " + *reason);
    write_file(dir + "/seeds/" + std::to_string(i), seed);
  }
  for (size_t i = 0; i < session->reader.relatives.size(); ++i)
    write_file(dir + "/seeds/relative-" + std::to_string(i), session->reader.relatives[i]);
  std::vector<std::string> words = session->reader.words;
  words.insert(words.end(), kWordsForAll.begin(), kWordsForAll.end());
  std::string dictionary;
  for (const std::string& word : words) {
    dictionary += '"';
    for (const char c : word) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02X", static_cast<unsigned char>(c));
      dictionary += escape;
    }
    dictionary += "\"\n";
  }
  write_file(dir + "/words.dict", dictionary);
}

int usage() {
  std::fprintf(
      stderr,
      "usage: fuzz --list[-planted] | fuzz TARGET --seeds DIR | fuzz TARGET [-option=value "
      "...] [folder ...]\n");
  return 2;
}

}  // namespace
}  // namespace temper

extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  using namespace temper;
  if (*argc < 2) std::exit(usage());
  const std::string name = (*argv)[1];
  std::vector<FuzzTarget> targets = all_targets();
  const std::vector<FuzzTarget> planted = planted_targets();
  if (name == "--list" || name == "--list-planted") {
    for (const FuzzTarget& target : name == "--list" ? targets : planted)
      std::printf("%s\n", target.name.c_str());
    std::exit(0);
  }
  targets.insert(targets.end(), planted.begin(), planted.end());
  const auto found = std::find_if(targets.begin(), targets.end(),
                                  [&](const FuzzTarget& target) { return target.name == name; });
  if (found == targets.end()) {
    std::fprintf(stderr, "fuzz: no target is named '%s'; 'fuzz --list' gives the names\n",
                 name.c_str());
    std::exit(usage());
  }
  at::set_num_threads(1);
  // Most mutants are refused: a stack trace of each would take most of the time.
  c10::SetStackTraceFetcher([] { return std::string(); });
  begin_session(*found);
  if (*argc == 4 && std::string((*argv)[2]) == "--seeds") {
    write_seeds((*argv)[3]);
    std::exit(0);
  }
  // libFuzzer's options follow the name.
  (*argv)[1] = (*argv)[0];
  ++*argv;
  --*argc;
  count_memory();
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace temper;
  const std::string bytes(reinterpret_cast<const char*>(data), size);
  reset_peak_memory();
  try {
    session->opened += !refusal(bytes).has_value();
  } catch (const std::exception& error) {
    fail(std::string("another exception: ") + error.what());
  }
  const int64_t taken = peak_memory();
  if (taken > kBytesPerByte * static_cast<int64_t>(size) + kBytesBesides)
    fail("took " + std::to_string(taken) + " bytes of memory for " + std::to_string(size));
  ++session->inputs;
  return 0;
}
