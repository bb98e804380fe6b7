#include "data/normal_form.h"

#include <c10/util/Exception.h>
#include <utf8proc.h>

#include <algorithm>

namespace temper {

namespace {

constexpr auto kForm = static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE);

// Characters below U+0300 are composed, and combine with nothing before them: only what has a
// leading byte from 0xCC on can need work.
bool may_change(char byte) { return static_cast<unsigned char>(byte) >= 0xCC; }

bool is_ascii(char byte) { return static_cast<unsigned char>(byte) < 0x80; }

void append_composed(std::string_view text, std::string& buffer, std::vector<int32_t>& points) {
  // reencode() writes UTF-8 over the code points, and a zero behind it.
  points.resize(text.size() + 16);
  const auto bytes = reinterpret_cast<const utf8proc_uint8_t*>(text.data());
  const auto size = static_cast<utf8proc_ssize_t>(text.size());
  utf8proc_ssize_t count = 0;
  while ((count = utf8proc_decompose(bytes, size, points.data(),
                                     static_cast<utf8proc_ssize_t>(points.size()) - 1, kForm)) >
         static_cast<utf8proc_ssize_t>(points.size()) - 1)
    points.resize(static_cast<size_t>(count) + 16);
  TORCH_INTERNAL_ASSERT(count >= 0, "utf8proc: ", utf8proc_errmsg(count));
  const utf8proc_ssize_t written = utf8proc_reencode(points.data(), count, kForm);
  TORCH_INTERNAL_ASSERT(written >= 0, "utf8proc: ", utf8proc_errmsg(written));
  buffer.append(reinterpret_cast<const char*>(points.data()), static_cast<size_t>(written));
}

}  // namespace

std::string_view normal_form_c(std::string_view text, std::string& buffer,
                               std::vector<int32_t>& points) {
  if (std::none_of(text.begin(), text.end(), may_change)) return text;
  buffer.clear();
  // An ASCII character combines with nothing before it: each, with all that follows it up to the
  // next one, is worked on by itself.
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = begin + 1;
    while (end < text.size() && !is_ascii(text[end])) ++end;
    const std::string_view piece = text.substr(begin, end - begin);
    if (piece.size() > 1 && std::any_of(piece.begin(), piece.end(), may_change)) {
      append_composed(piece, buffer, points);
    } else {
      buffer += piece;
    }
    begin = end;
  }
  return buffer;
}

}  // namespace temper
