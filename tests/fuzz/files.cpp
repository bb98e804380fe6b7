// Files and words that the targets are made of.
#include <c10/util/Exception.h>

#include <fstream>
#include <iterator>
#include <set>

#include "data/checksum.h"
#include "tests/fuzz/targets.h"

namespace temper {

std::string file_content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  TORCH_CHECK(file, path, " cannot be read");
  return {std::istreambuf_iterator<char>(file), {}};
}

void write_file(const std::string& path, std::string_view bytes) {
  std::ofstream file(path, std::ios::binary);
  file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  file.close();
  TORCH_CHECK(file, path, " cannot be written");
}

std::vector<std::string> quoted_words(const std::vector<std::string>& texts) {
  constexpr size_t kLongest = 32, kMost = 200;
  std::set<std::string> words;
  for (const std::string& text : texts) {
    for (size_t begin = text.find('"'); begin != std::string::npos && words.size() < kMost;) {
      const size_t end = text.find('"', begin + 1);
      if (end == std::string::npos) break;
      if (end - begin <= kLongest) words.insert(text.substr(begin, end + 1 - begin));
      begin = text.find('"', end + 1);
    }
  }
  return {words.begin(), words.end()};
}

FuzzReader sealed_json_reader(const std::string& path, const std::vector<std::string>& texts,
                              const std::function<void()>& use) {
  const std::string end = "\"\n}\n", zeros(32, '0');
  std::vector<std::string> seeds = texts;
  for (std::string& seed : seeds) seed.resize(seed.size() - zeros.size() - end.size());
  return {seeds,
          [=](const std::string& before) {
            const std::string sum = Checksum().add(before).add(zeros).add(end).hex();
            write_file(path, before + sum + end);
            use();
          },
          quoted_words(seeds)};
}

std::string source_file(const std::string& path) {
  return std::string(TEMPER_SOURCE_DIR) + "/" + path;
}

}  // namespace temper
