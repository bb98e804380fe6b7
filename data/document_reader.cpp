#include "data/document_reader.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "data/json_input.h"

namespace temper {

namespace {

// Large enough that handing it over costs nothing, small enough that few of them fill no memory.
constexpr size_t kTextPortion = 1 << 20;

using nlohmann::json;

/// Takes one string out of an object and passes over the rest, without building it.
class FieldFinder : public nlohmann::json_sax<json> {
 public:
  explicit FieldFinder(const std::string& field) : field_(field) {}

  std::string take() {
    TORCH_CHECK_VALUE(found_, "the field ", field_, " is missing");
    return std::move(text_);
  }

  bool null() override { return other("null"); }
  bool boolean(bool) override { return other("true or false"); }
  bool number_integer(number_integer_t) override { return other("a number"); }
  bool number_unsigned(number_unsigned_t) override { return other("a number"); }
  bool number_float(number_float_t, const string_t&) override { return other("a number"); }
  bool binary(binary_t&) override { return other("binary"); }
  bool string(string_t& value) override {
    if (!is_field()) return other("a string");
    text_ = std::move(value);
    found_ = true;
    wanted_ = false;
    return true;
  }
  bool start_object(size_t) override {
    if (depth_ > 0) other("an object");
    ++depth_;
    return true;
  }
  bool end_object() override {
    --depth_;
    return true;
  }
  bool start_array(size_t) override {
    other("a list");
    ++depth_;
    return true;
  }
  bool end_array() override {
    --depth_;
    return true;
  }
  bool key(string_t& name) override {
    wanted_ = depth_ == 1 && name == field_;
    TORCH_CHECK_VALUE(!wanted_ || !found_, "the field ", field_, " stands twice");
    return true;
  }
  bool parse_error(size_t at, const std::string&, const json::exception& error) override {
    std::string reason = error.what();
    const size_t dash = reason.find(" - ");
    if (dash != std::string::npos) reason.erase(0, dash + 3);
    TORCH_CHECK_VALUE(false, "not valid JSON at byte ", at, " (",
                      reason.substr(0, reason.find("; last read")), ")");
  }

 private:
  bool is_field() const { return wanted_ && depth_ == 1; }
  // A value that is not the document.
  bool other(const char* kind) {
    TORCH_CHECK_VALUE(depth_ > 0, "this is ", kind, ", not a JSON object");
    TORCH_CHECK_VALUE(!is_field(), "the field ", field_, " is ", kind, "; a string is wanted");
    return true;
  }

  const std::string& field_;
  std::string text_;
  int depth_ = 0;
  bool wanted_ = false;  // the next value at depth 1 is the field's
  bool found_ = false;
};

bool is_empty_file(const std::string& path) {
  std::error_code error;
  return std::filesystem::is_regular_file(path, error) &&
         std::filesystem::file_size(path, error) == 0;
}

}  // namespace

std::string jsonl_document(std::string_view line, const std::string& field) {
  const size_t nul = find_nul(line);
  TORCH_CHECK_VALUE(nul == line.npos, "not valid JSON at byte ", nul + 1, " (a NUL byte)");
  FieldFinder finder(field);
  json::sax_parse(line.begin(), line.end(), &finder);
  return finder.take();
}

DocumentReader::DocumentReader(const std::vector<DocumentSource>& sources,
                               const Tokenizer& tokenizer, std::string option)
    : sources_(sources), tokenizer_(tokenizer), option_(std::move(option)) {}

std::optional<Portion> DocumentReader::next() {
  while (source_ < sources_.size()) {
    if (file_ == nullptr && is_empty_file(sources_[source_].path)) {
      ++source_;  // no documents, as in an empty folder
      continue;
    }
    if (file_ == nullptr) {
      file_ = std::make_shared<const MappedFile>(sources_[source_].path, option_);
      at_ = 0;
      line_ = 1;
    }
    if (at_ < file_->bytes().size())
      return sources_[source_].jsonl ? jsonl_portion() : text_portion();
    file_ = nullptr;
    ++source_;
  }
  return std::nullopt;
}

Portion DocumentReader::jsonl_portion() {
  const std::string_view bytes = file_->bytes();
  size_t end = bytes.find('\n', std::min(at_ + kTextPortion, bytes.size()) - 1);
  end = end == std::string_view::npos ? bytes.size() : end + 1;
  Portion portion{file_, &sources_[source_], bytes.substr(at_, end - at_), {}, line_};
  line_ += std::count(portion.bytes.begin(), portion.bytes.end(), '\n');
  at_ = end;
  return portion;
}

Portion DocumentReader::text_portion() {
  const std::string_view bytes = file_->bytes();
  const std::string& separator = sources_[source_].separator;
  const size_t begin = at_;
  Portion portion{file_, &sources_[source_], {}, {}, 0};
  while (at_ < bytes.size() && at_ - begin < kTextPortion) {
    if (!inside_) {
      const size_t found = separator.empty() ? std::string_view::npos : bytes.find(separator, at_);
      document_end_ = std::min(found, bytes.size());
    }
    const std::string_view rest = bytes.substr(at_, document_end_ - at_);
    const size_t left = begin + kTextPortion - at_;
    const size_t size = rest.size() <= kTextPortion ? rest.size() : tokenizer_.next_cut(rest, left);
    const bool ends = size == rest.size();
    if (!rest.empty()) portion.parts.push_back({rest.substr(0, size), !inside_, ends});
    inside_ = !ends;
    at_ = ends ? std::min(document_end_ + separator.size(), bytes.size()) : at_ + size;
  }
  portion.bytes = bytes.substr(begin, at_ - begin);
  return portion;
}

}  // namespace temper
