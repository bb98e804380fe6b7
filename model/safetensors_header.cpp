// A streaming (SAX) parser that knows the one shape a header may have: {name: {dtype, shape,
// data_offsets}, "__metadata__": {string: string}}. Whatever else comes up ends the parse, so
// memory stays bounded by the header's own size.
#include "model/safetensors_header.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "data/json_input.h"

namespace temper {
namespace {

using nlohmann::json;

constexpr size_t kMaxDimensions = 8;
constexpr const char* kMetadataKey = "__metadata__";

constexpr std::array<std::pair<const char*, at::ScalarType>, 17> kDtypes = {{
    {"F64", at::kDouble},
    {"F32", at::kFloat},
    {"F16", at::kHalf},
    {"BF16", at::kBFloat16},
    {"I64", at::kLong},
    {"I32", at::kInt},
    {"I16", at::kShort},
    {"I8", at::kChar},
    {"U64", at::kUInt64},
    {"U32", at::kUInt32},
    {"U16", at::kUInt16},
    {"U8", at::kByte},
    {"BOOL", at::kBool},
    {"C64", at::kComplexFloat},
    {"F8_E4M3", at::kFloat8_e4m3fn},
    {"F8_E5M2", at::kFloat8_e5m2},
    {"F8_E8M0", at::kFloat8_e8m0fnu},
}};

std::string in_quotes(const std::string& text) {
  const bool is_long = text.size() > 80;
  return json(is_long ? text.substr(0, 77) + "..." : text)
      .dump(-1, ' ', false, json::error_handler_t::replace);
}

// The events of nlohmann-json's SAX interface. Returning false would end the parse in silence, so
// each refusal throws.
class HeaderReader : public nlohmann::json_sax<json> {
 public:
  explicit HeaderReader(const std::string& file) : file_(file) {}

  std::vector<SafetensorsItem> items;

  bool null() override { refuse("a null where none belongs"); }
  bool boolean(bool) override { refuse("a boolean where none belongs"); }
  bool number_float(number_float_t, const string_t& text) override {
    refuse("the number " + text + ", which is not an integer");
  }
  bool binary(binary_t&) override { refuse("binary data"); }

  bool number_integer(number_integer_t value) override {
    refuse("the negative number " + std::to_string(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    if (place_ != Place::kList) refuse("a number where none belongs");
    if (value > uint64_t{INT64_MAX}) refuse("the number " + std::to_string(value) + ", too large");
    if (key_ == "shape") {
      if (item_.shape.size() == kMaxDimensions) refuse("more than 8 dimensions");
      item_.shape.push_back(static_cast<int64_t>(value));
    } else {
      if (offsets_ == 2) refuse("more than two data_offsets");
      (offsets_ == 0 ? item_.begin : item_.end) = value;
      ++offsets_;
    }
    return true;
  }

  bool string(string_t& value) override {
    if (place_ == Place::kMetadata) return true;
    if (place_ != Place::kTensor || key_ != "dtype") refuse("a string where none belongs");
    for (const auto& [name, dtype] : kDtypes) {
      if (value == name) {
        item_.dtype = dtype;
        return true;
      }
    }
    refuse("the unknown dtype " + in_quotes(value));
  }

  bool start_object(size_t) override {
    switch (place_) {
      case Place::kOutside:
        place_ = Place::kTop;
        return true;
      case Place::kTop:
        place_ = item_.name == kMetadataKey ? Place::kMetadata : Place::kTensor;
        return true;
      default:
        refuse("objects nested too deep");
    }
  }

  bool key(string_t& name) override {
    if (place_ == Place::kTop) {
      item_ = SafetensorsItem{};
      item_.name = name;
      fields_.clear();
      offsets_ = 0;
      if (!names_.insert(name).second) refuse("its name twice");
    } else {
      if (place_ == Place::kTensor && name != "dtype" && name != "shape" &&
          name != "data_offsets") {
        refuse("the unknown field " + in_quotes(name));
      }
      if (!fields_.insert(name).second) refuse("the field " + in_quotes(name) + " twice");
      key_ = name;
    }
    return true;
  }

  bool end_object() override {
    if (place_ == Place::kTensor) finish_tensor();
    place_ = place_ == Place::kTop ? Place::kDone : Place::kTop;
    return true;
  }

  bool start_array(size_t) override {
    if (place_ != Place::kTensor || (key_ != "shape" && key_ != "data_offsets")) {
      refuse("a list where none belongs");
    }
    place_ = Place::kList;
    return true;
  }

  bool end_array() override {
    place_ = Place::kTensor;
    return true;
  }

  bool parse_error(size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    TORCH_CHECK_VALUE(false, file_,
                      ": not a safetensors file: the header is not valid JSON (at byte ", position,
                      " of it)");
  }

 private:
  enum class Place { kOutside, kTop, kMetadata, kTensor, kList, kDone };

  [[noreturn]] void refuse(const std::string& reason) const {
    if (place_ == Place::kOutside) {
      TORCH_CHECK_VALUE(false, file_, ": not a safetensors file: the header is not a JSON object");
    }
    TORCH_CHECK_VALUE(false, file_, ": bad header: ", in_quotes(item_.name), " has ", reason);
  }

  void finish_tensor() {
    if (fields_.size() != 3) refuse("not all of dtype, shape and data_offsets");
    if (offsets_ != 2) refuse("fewer than two data_offsets");
    if (item_.end < item_.begin) refuse("data_offsets that run backwards");
    // As if zeros were ones: strides would overflow with [0, 2^62, 8], too.
    uint64_t bytes = c10::elementSize(item_.dtype);
    bool overflow = false, empty = false;
    for (const int64_t size : item_.shape) {
      empty |= size == 0;
      overflow |=
          __builtin_mul_overflow(bytes, std::max(static_cast<uint64_t>(size), uint64_t{1}), &bytes);
    }
    if (overflow || bytes > uint64_t{INT64_MAX}) refuse("a shape whose product overflows");
    if (empty) bytes = 0;
    if (bytes != item_.end - item_.begin) {
      refuse("a shape of " + std::to_string(bytes) + " bytes and data_offsets of " +
             std::to_string(item_.end - item_.begin));
    }
    items.push_back(item_);
  }

  const std::string& file_;
  Place place_ = Place::kOutside;
  SafetensorsItem item_;
  std::string key_;
  int offsets_ = 0;
  std::unordered_set<std::string> names_;
  std::unordered_set<std::string> fields_;
};

}  // namespace

std::vector<SafetensorsItem> parse_safetensors_header(std::string_view header, uint64_t data_bytes,
                                                      const std::string& file) {
  // The parser would pass over a byte order mark, and take a NUL byte for the end of the text.
  TORCH_CHECK_VALUE(!header.starts_with("\xef\xbb\xbf") && find_nul(header) == header.npos, file,
                    ": not a safetensors file: the header is not valid JSON (it holds a byte order "
                    "mark or a NUL byte)");
  HeaderReader reader(file);
  json::sax_parse(header.begin(), header.end(), &reader);
  std::vector<SafetensorsItem> items = std::move(reader.items);
  std::sort(items.begin(), items.end(), [](const SafetensorsItem& a, const SafetensorsItem& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  uint64_t expected = 0;
  for (const SafetensorsItem& item : items) {
    TORCH_CHECK_VALUE(item.begin >= expected, file, ": bad header: ", in_quotes(item.name),
                      " begins at byte ", item.begin, ", inside the tensor before it");
    TORCH_CHECK_VALUE(item.begin == expected, file, ": bad header: a gap of ",
                      item.begin - expected, " bytes before ", in_quotes(item.name));
    TORCH_CHECK_VALUE(item.end <= data_bytes, file, ": truncated: ", in_quotes(item.name),
                      " ends at byte ", item.end, " of the data, which hold ", data_bytes,
                      "; fetch or write the file again");
    expected = item.end;
  }
  TORCH_CHECK_VALUE(expected == data_bytes, file, ": ", data_bytes - expected,
                    " bytes after the last tensor belong to none");
  return items;
}

std::string make_safetensors_header(std::vector<SafetensorsItem>& items) {
  // In the order of the data, which an object sorted by name would not keep.
  nlohmann::ordered_json header;
  header[kMetadataKey] = {{"format", "pt"}};
  uint64_t offset = 0;
  for (SafetensorsItem& item : items) {
    uint64_t bytes = c10::elementSize(item.dtype);
    for (const int64_t size : item.shape) bytes *= static_cast<uint64_t>(size);
    item.begin = offset;
    item.end = offset += bytes;
    const auto* known = std::find_if(kDtypes.begin(), kDtypes.end(),
                                     [&](const auto& pair) { return pair.second == item.dtype; });
    TORCH_CHECK_VALUE(known != kDtypes.end(), "a tensor of type ", c10::toString(item.dtype),
                      " cannot be written as safetensors: ", item.name);
    TORCH_CHECK_VALUE(!header.contains(item.name), "the name ", item.name,
                      " stands twice in a list of tensors to write");
    header[item.name] = {
        {"dtype", known->first}, {"shape", item.shape}, {"data_offsets", {item.begin, item.end}}};
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace temper
