// What is fuzzed: every reader of files, and of the command line. A reader takes its input or
// refuses it with a c10::ValueError; there is no third way.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

/// One reader, ready to be tried.
struct FuzzReader {
  std::vector<std::string> seeds;  ///< valid inputs, to be mutated
  /// Makes a file of these bytes, opens it and uses all that it holds. May throw c10::ValueError,
  /// and nothing else.
  std::function<void(const std::string& bytes)> use;
  /// What the format is made of, for libFuzzer's dictionary.
  std::vector<std::string> words;
  std::vector<std::string> relatives = {};  ///< further inputs, which may be refused here
};

struct FuzzTarget {
  std::string name;
  /// `work` is an empty folder for the target's files.
  std::function<FuzzReader(const std::string& work)> open;
};

// One list for each layer, and one for checkpoints.
std::vector<FuzzTarget> data_targets();
std::vector<FuzzTarget> model_targets();
std::vector<FuzzTarget> store_targets();
std::vector<FuzzTarget> launch_targets();
std::vector<FuzzTarget> checkpoint_targets();

/// Readers with a fault each, which the fuzzer must find.
std::vector<FuzzTarget> planted_targets();

/// The whole file.
std::string file_content(const std::string& path);

/// Of a JSON file that ends with its checksum (data/sealed_json.h): `texts` are such, and `use`
/// opens `path`. The checksum would keep all mutants from being parsed: here it is put right.
FuzzReader sealed_json_reader(const std::string& path, const std::vector<std::string>& texts,
                              const std::function<void()>& use);

/// Writes `bytes` as the file `path`.
void write_file(const std::string& path, std::string_view bytes);

/// The names and short strings that stand in quotes in JSON texts, quotes included.
std::vector<std::string> quoted_words(const std::vector<std::string>& texts);

/// A file of the project, by its path in the sources.
std::string source_file(const std::string& path);

}  // namespace temper
