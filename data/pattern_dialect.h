// Patterns of tokenizer.json are written for Oniguruma in Ruby's dialect, which Hugging Face's
// `tokenizers` calls; PCRE2 reads some of the same signs differently: \s takes U+180E in, \v and
// \h are classes, ^ and $ know no lines, \p{Han} asks for the script extensions. Here a pattern is
// read sign by sign and written down again so that PCRE2 finds what Oniguruma finds. What has no
// such translation, or none that was worth writing, is refused by name: a pattern that is nearly
// right would give wrong ids without a word.
#pragma once

#include <string>
#include <string_view>

namespace temper {

/// The same pattern for PCRE2 with PCRE2_UTF and newline LF. `file` is named in errors. Throws
/// c10::ValueError naming the file, the pattern and the part that is not understood.
std::string translate_pattern(std::string_view pattern, const std::string& file);

/// A pattern, in either dialect, that finds `text` itself.
std::string quote_pattern(std::string_view text);

}  // namespace temper
