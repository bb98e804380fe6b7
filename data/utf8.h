// Where the characters of a UTF-8 text begin and end. A text is cut (into parts, into pieces for
// the tokenizer) between characters only: SentencePiece would turn each half of a cut one into a
// replacement character without a word.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace temper {

/// The first place at or after `at` where a character begins (or the text ends). Moves by at most 3
/// bytes, so that it also ends in a text that is no UTF-8.
size_t next_character(std::string_view text, size_t at);

/// The offset of the first byte that is not well-formed UTF-8 (RFC 3629: no overlong forms, no
/// surrogates), or npos.
size_t find_invalid_utf8(std::string_view text);

/// The text with U+FFFD in the place of each ill-formed sequence: of the longest beginning of a
/// character, or of one byte, as Unicode recommends and Python (errors="replace") and Rust
/// (from_utf8_lossy) do.
std::string replace_invalid_utf8(std::string_view text);

}  // namespace temper
