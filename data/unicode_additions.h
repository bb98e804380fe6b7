// Characters that are younger than the tables of Debian 12's PCRE2 (Unicode 14.0) and stand in
// those of Hugging Face's `tokenizers` (16.0): without them a new letter would end a word here and
// not there. With a newer PCRE2 they are there twice, which changes nothing.
#pragma once

#include <string>
#include <string_view>

namespace temper {

/// What Unicode 15.0 to 16.0 added to a general category (L, Lu, N ...), as members of a PCRE2
/// class; empty where nothing was added or there is no such category.
std::string unicode_additions(std::string_view category);

}  // namespace temper
