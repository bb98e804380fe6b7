#include "data/token_writer.h"

#include <c10/util/Exception.h>

#include <cstring>
#include <filesystem>

#include "data/token_file_layout.h"

namespace temper {

namespace fs = std::filesystem;

namespace {

// Room for any number of tokens; NumPy wants a multiple of 64.
constexpr size_t kNpyHeader = 128;
// From here on Megatron's own tools take four bytes a token.
constexpr int64_t kMegatronShortVocab = 65500;

template <typename T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

int bytes_per_id(TokenFormat format, int64_t vocab) {
  return vocab <= (format == TokenFormat::kMegatron ? kMegatronShortVocab - 1 : 65536) ? 2 : 4;
}

std::string data_path(const std::string& path, TokenFormat format) {
  if (format != TokenFormat::kMegatron) return path;
  const fs::path name(path);
  const bool ending = name.extension() == ".bin" || name.extension() == ".idx";
  return (ending ? fs::path(name).replace_extension() : name).string() + ".bin";
}

}  // namespace

TokenFormat token_format(const std::string& name, const std::string& option) {
  if (name == "npy") return TokenFormat::kNpy;
  if (name == "llm.c") return TokenFormat::kLlmc;
  TORCH_CHECK_VALUE(name == "megatron", "--", option, " is '", name,
                    "': give npy, llm.c or megatron");
  return TokenFormat::kMegatron;
}

void check_no_token_file(const std::string& path, TokenFormat format, const std::string& option) {
  std::vector<fs::path> files = {data_path(path, format)};
  if (format == TokenFormat::kMegatron)
    files.push_back(fs::path(files.front()).replace_extension(".idx"));
  for (const fs::path& file : files) {
    std::error_code ignored;
    TORCH_CHECK_VALUE(!fs::exists(file, ignored), "--", option, " ", file.string(),
                      ": this file is there already; remove it, or name another");
  }
}

TokenWriter::TokenWriter(const std::string& path, TokenFormat format, int64_t vocab)
    : format_(format),
      id_bytes_(bytes_per_id(format, vocab)),
      path_(data_path(path, format)),
      file_(path_) {
  const std::string start = header();
  file_.write(start.data(), start.size());
}

std::string TokenWriter::header() const {
  std::string bytes;
  if (format_ == TokenFormat::kNpy) {
    bytes = std::string(kNpyMagic) + std::string("\x01\0", 2);
    append(bytes, static_cast<uint16_t>(kNpyHeader - bytes.size() - 2));
    bytes += "{'descr': '<u" + std::to_string(id_bytes_) + "', 'fortran_order': False, 'shape': (" +
             std::to_string(tokens_) + ",), }";
    bytes.resize(kNpyHeader - 1, ' ');
    bytes += '\n';
  } else if (format_ == TokenFormat::kLlmc) {
    const LlmcKind kind = id_bytes_ == 2 ? kLlmcShort : kLlmcLong;
    append(bytes, kind.magic);
    append(bytes, kind.version);
    append(bytes, static_cast<int32_t>(tokens_));
    bytes.resize(kLlmcHeader, '\0');
  }
  return bytes;
}

void TokenWriter::write(std::span<const int32_t> ids) {
  bytes_.resize(ids.size() * static_cast<size_t>(id_bytes_));
  if (id_bytes_ == 2) {
    for (size_t i = 0; i < ids.size(); ++i) {
      const auto id = static_cast<uint16_t>(ids[i]);
      std::memcpy(bytes_.data() + 2 * i, &id, 2);
    }
  } else if (!ids.empty()) {
    std::memcpy(bytes_.data(), ids.data(), bytes_.size());
  }
  file_.write(bytes_.data(), bytes_.size());
  tokens_ += static_cast<int64_t>(ids.size());
  document_tokens_ += static_cast<int64_t>(ids.size());
}

void TokenWriter::end_document() {
  ++documents_;
  if (format_ == TokenFormat::kMegatron) {
    TORCH_CHECK_VALUE(document_tokens_ <= INT32_MAX, path_, ": document ", documents_, " has ",
                      document_tokens_,
                      " tokens, more than Megatron's index can count; cut it "
                      "(--tokenize.separator)");
    lengths_.push_back(static_cast<int32_t>(document_tokens_));
  }
  document_tokens_ = 0;
}

void TokenWriter::commit() {
  TORCH_CHECK_VALUE(tokens_ > 0, path_, ": there is not one token to write");
  TORCH_CHECK_VALUE(format_ != TokenFormat::kLlmc || tokens_ <= INT32_MAX, path_, ": ", tokens_,
                    " tokens, more than llm.c's header can count; give --tokenize.format npy, or "
                    "write several files");
  const std::string start = header();
  if (!start.empty()) file_.overwrite(0, start.data(), start.size());
  if (format_ != TokenFormat::kMegatron) return file_.commit();
  // An index without its tokens must not be seen, nor the tokens with another's index.
  std::error_code ignored;
  fs::remove(fs::path(path_).replace_extension(".idx"), ignored);
  file_.commit();
  commit_index();
}

void TokenWriter::commit_index() const {
  AtomicFile index(fs::path(path_).replace_extension(".idx").string());
  std::string bytes(kMegatronMagic);
  append(bytes, kMegatronVersion);
  append(bytes, static_cast<uint8_t>(id_bytes_ == 2 ? kMegatronU2 : kMegatronI4));
  append(bytes, static_cast<uint64_t>(lengths_.size()));      // sequences, here documents
  append(bytes, static_cast<uint64_t>(lengths_.size() + 1));  // entries of the document list
  index.write(bytes.data(), bytes.size());
  index.write(lengths_.data(), lengths_.size() * sizeof(int32_t));
  // Where each sequence begins, in bytes; then the first sequence of each document, and the end.
  int64_t at = 0;
  const auto write_list = [&](size_t count, const auto& value) {
    bytes.clear();
    for (size_t i = 0; i < count; ++i) {
      append(bytes, static_cast<int64_t>(value(i)));
      if (bytes.size() < (1 << 20) && i + 1 < count) continue;
      index.write(bytes.data(), bytes.size());
      bytes.clear();
    }
  };
  write_list(lengths_.size(),
             [&](size_t i) { return std::exchange(at, at + int64_t{lengths_[i]} * id_bytes_); });
  write_list(lengths_.size() + 1, [](size_t i) { return i; });
  index.commit();
}

std::string TokenWriter::describe() const {
  switch (format_) {
    case TokenFormat::kNpy:
      return "NumPy u" + std::to_string(id_bytes_);
    case TokenFormat::kLlmc:
      return id_bytes_ == 2 ? "llm.c u2" : "llm.c u4";
    case TokenFormat::kMegatron:
      return id_bytes_ == 2 ? "Megatron u2" : "Megatron i4";
  }
  return "unknown";
}

}  // namespace temper
