// Unicode's normal form C, by utf8proc: Qwen's tokenizers compose what a text has decomposed.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace temper {

/// The text in NFC. Returns `text` itself where it is in this form already by a quick look, and
/// otherwise a view of `buffer`. `text` must be UTF-8 (RFC 3629); `points` is scratch space.
std::string_view normal_form_c(std::string_view text, std::string& buffer,
                               std::vector<int32_t>& points);

}  // namespace temper
