#include "data/token_file.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <regex>

#include "data/fingerprint.h"
#include "data/megatron_index.h"
#include "data/token_file_layout.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

constexpr size_t kNpyHeaderLimit = 1 << 16;

template <typename T>
void widen(const char* from, int64_t count, int64_t* out) {
  for (int64_t i = 0; i < count; ++i) {
    T id;
    std::memcpy(&id, from + static_cast<size_t>(i) * sizeof id, sizeof id);
    out[i] = static_cast<int64_t>(id);
  }
}

TokenFile::Layout llmc(std::string_view bytes, const std::string& path, const LlmcKind& kind) {
  TORCH_CHECK_VALUE(bytes.size() >= kLlmcHeader, "--data.tokens ", path,
                    ": truncated inside the header of llm.c's format");
  const auto version = load<int32_t>(bytes, 4), count = load<int32_t>(bytes, 8);
  TORCH_CHECK_VALUE(version == kind.version, "--data.tokens ", path, ": version ", version,
                    " of llm.c's format; temper reads version ", kind.version);
  const auto held =
      static_cast<int64_t>((bytes.size() - kLlmcHeader) / static_cast<size_t>(kind.id_bytes));
  TORCH_CHECK_VALUE(count > 0 && count <= held, "--data.tokens ", path,
                    ": truncated: the header says ", count, " tokens, the file holds ", held);
  return {"llm.c u" + std::to_string(kind.id_bytes), kLlmcHeader, count, kind.id_bytes, false};
}

/// NumPy: magic, version, length of a header that is a Python dictionary, padded; then the array.
TokenFile::Layout npy(std::string_view bytes, const std::string& path) {
  TORCH_CHECK_VALUE(bytes.size() >= 12, "--data.tokens ", path,
                    ": truncated inside NumPy's header");
  const int major = bytes[6];
  TORCH_CHECK_VALUE(major >= 1 && major <= 3, "--data.tokens ", path, ": version ", major,
                    " of NumPy's format; temper reads 1 to 3");
  const size_t prefix = major == 1 ? 10 : 12;
  const size_t length = major == 1 ? load<uint16_t>(bytes, 8) : load<uint32_t>(bytes, 8);
  TORCH_CHECK_VALUE(length <= kNpyHeaderLimit && prefix + length <= bytes.size(), "--data.tokens ",
                    path, ": truncated inside NumPy's header");
  const std::string header(bytes.substr(prefix, length));
  std::smatch match;
  TORCH_CHECK_VALUE(
      std::regex_search(header, match, std::regex("'descr': *'([<>|=])([a-zA-Z])([0-9]+)'")),
      "--data.tokens ", path, ": NumPy's header has no plain dtype: ", header.substr(0, 80));
  const std::string order = match[1], kind = match[2], width = match[3];
  const std::string dtype = kind + width;
  const bool known =
      dtype == "u1" || dtype == "u2" || dtype == "u4" || dtype == "i4" || dtype == "i8";
  TORCH_CHECK_VALUE(known && order != ">", "--data.tokens ", path, ": dtype ", order, dtype,
                    "; token ids are read as little-endian u1, u2, u4, i4 or i8 "
                    "(numpy.asarray(ids, dtype='<u4'))");
  TORCH_CHECK_VALUE(
      std::regex_search(header, match, std::regex("'shape': *\\(([0-9]{1,18}),? *\\)")),
      "--data.tokens ", path,
      ": the array must have one dimension (ids.reshape(-1)); its header says ",
      header.substr(0, 80));
  const int64_t count = std::stoll(match[1]);
  const int id_bytes = std::stoi(width);
  const auto held =
      static_cast<int64_t>((bytes.size() - prefix - length) / static_cast<size_t>(id_bytes));
  TORCH_CHECK_VALUE(count <= held, "--data.tokens ", path, ": truncated: the header says ", count,
                    " tokens, the file holds ", held);
  TORCH_CHECK_VALUE(count > 0, "--data.tokens ", path, ": the array is empty");
  return {"NumPy " + dtype, prefix + length, count, id_bytes, kind == "i"};
}

}  // namespace

std::optional<TokenFile::Layout> TokenFile::recognise(std::string_view bytes,
                                                      const std::string& path) {
  if (bytes.starts_with(kNpyMagic)) return npy(bytes, path);
  for (const LlmcKind& kind : {kLlmcShort, kLlmcLong}) {
    if (bytes.size() >= 4 && load<int32_t>(bytes, 0) == kind.magic) return llmc(bytes, path, kind);
  }
  return std::nullopt;
}

std::unique_ptr<TokenFile> TokenFile::open(const std::string& path, int64_t vocab, double fit_share,
                                           double test_share, bool aligned_rows) {
  const auto make = [&](MappedFile file, Layout layout) {
    std::unique_ptr<TokenFile> tokens(new TokenFile(std::move(file), std::move(layout), path, vocab,
                                                    fit_share, test_share, aligned_rows));
    tokens->check_ids();
    return tokens;
  };
  std::error_code error;
  const bool is_file = fs::exists(path, error) && !fs::is_directory(path, error);
  const bool is_index = fs::path(path).extension() == ".idx";
  if (is_file && !is_index) {
    MappedFile file(path, "data.tokens");
    if (std::optional<Layout> layout = recognise(file.bytes(), path))
      return make(std::move(file), std::move(*layout));
  }
  // Megatron's: the .bin, the .idx, or what both names begin with.
  const fs::path stem = fs::path(path).extension() == ".bin" || is_index
                            ? fs::path(path).replace_extension()
                            : fs::path(path);
  const std::string index = stem.string() + ".idx", bin = stem.string() + ".bin";
  const bool has_index = fs::is_regular_file(index, error);
  if (!is_file && !has_index) MappedFile(path, "data.tokens");  // says why there is nothing
  TORCH_CHECK_VALUE(has_index, "--data.tokens ", path,
                    ": neither NumPy's .npy nor llm.c's .bin by its first bytes, and there is no ",
                    index,
                    " that would make it Megatron's; ids without a header are converted with "
                    "numpy.save('ids.npy', numpy.fromfile('",
                    path, "', 'uint16'))");
  MappedFile file(bin, "data.tokens");
  const MegatronIndex found = read_megatron_index(index, file.bytes().size(), "data.tokens");
  Layout layout{std::string("Megatron ") + (found.is_signed ? "i" : "u") +
                    std::to_string(found.id_bytes) + ", " + std::to_string(found.documents) +
                    " documents",
                0, found.tokens, found.id_bytes, found.is_signed};
  return make(std::move(file), std::move(layout));
}

TokenFile::TokenFile(MappedFile file, Layout layout, std::string path, int64_t vocab,
                     double fit_share, double test_share, bool aligned_rows)
    : TokenStream(vocab, part_sizes(layout.count, fit_share, test_share), aligned_rows),
      file_(std::move(file)),
      layout_(std::move(layout)),
      path_(std::move(path)) {}

void TokenFile::copy(int64_t begin, int64_t count, int64_t* out) const {
  const char* from =
      file_.bytes().data() + layout_.begin + static_cast<size_t>(begin * layout_.id_bytes);
  switch (layout_.id_bytes) {
    case 1:
      return layout_.is_signed ? widen<int8_t>(from, count, out) : widen<uint8_t>(from, count, out);
    case 2:
      return layout_.is_signed ? widen<int16_t>(from, count, out)
                               : widen<uint16_t>(from, count, out);
    case 4:
      return layout_.is_signed ? widen<int32_t>(from, count, out)
                               : widen<uint32_t>(from, count, out);
    default:
      return widen<int64_t>(from, count, out);
  }
}

void TokenFile::check_ids() const {
  constexpr int64_t kBlock = 1 << 16;
  std::vector<int64_t> ids(kBlock);
  for (int64_t begin = 0; begin < layout_.count; begin += kBlock) {
    const int64_t count = std::min(kBlock, layout_.count - begin);
    copy(begin, count, ids.data());
    // As unsigned numbers, negative ids are too large as well.
    uint64_t largest = 0;
    for (int64_t i = 0; i < count; ++i)
      largest = std::max(largest, static_cast<uint64_t>(ids[static_cast<size_t>(i)]));
    if (largest < static_cast<uint64_t>(vocab())) continue;
    const auto bad = std::find_if(ids.begin(), ids.begin() + count,
                                  [&](int64_t id) { return id < 0 || id >= vocab(); });
    TORCH_CHECK_VALUE(false, "--data.tokens ", path_, ": token ", begin + (bad - ids.begin()),
                      " has the id ", *bad, ", outside the vocabulary of --data.vocab ", vocab(),
                      "; give the size that the file was made with");
  }
}

std::string TokenFile::describe() const {
  return path_ + " (" + layout_.format + ", vocabulary " + std::to_string(vocab()) + "), " +
         describe_parts() + (aligned_rows() ? ", rows aligned" : "");
}

uint64_t TokenFile::fingerprint() const {
  // Size, beginning and end, and samples between them: the whole of a large file would take too
  // long.
  const std::string_view bytes = file_.bytes();
  Fingerprint hash;
  hash.add(static_cast<uint64_t>(bytes.size())).add(static_cast<uint64_t>(vocab()));
  if (aligned_rows()) hash.add(uint64_t{1});  // other rows
  constexpr size_t kSamples = 64, kSample = 4096;
  for (size_t i = 0; i <= kSamples; ++i) {
    const size_t at = bytes.size() <= kSample ? 0 : (bytes.size() - kSample) / kSamples * i;
    hash.add(bytes.substr(at, kSample));
  }
  return hash.add(bytes.substr(bytes.size() - std::min(bytes.size(), kSample))).value();
}

}  // namespace temper
