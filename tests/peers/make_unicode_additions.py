"""Prints data/unicode_additions.cpp: the characters that Unicode 15.0, 15.1 and 16.0 gave a general category to.

Debian 12's PCRE2 knows Unicode 14.0, the Oniguruma in Hugging Face's `tokenizers` 16.0. Needs unicodedata2==16.0.0
(PyPI) and a Python whose own tables are of Unicode 14.0 (3.11).
"""

import unicodedata
import unicodedata2

assert unicodedata.unidata_version == "14.0.0" and unicodedata2.unidata_version == "16.0.0"
ranges = {}
for point in range(0x110000):
    category = unicodedata2.category(chr(point))
    if category == unicodedata.category(chr(point)) or unicodedata.category(chr(point)) != "Cn":
        continue
    of_category = ranges.setdefault(category, [])
    if of_category and of_category[-1][1] == point - 1:
        of_category[-1][1] = point
    else:
        of_category.append([point, point])

print('// Made by tests/peers/make_unicode_additions.py; change it there.\n#include "data/unicode_additions.h"\n')
print("#include <array>\n\n#include <cstdio>\n\nnamespace temper {\n\nnamespace {\n")
print("struct Range {\n  std::string_view category;\n  unsigned first, last;\n};\n")
print("constexpr Range kAdditions[] = {")
for category in sorted(ranges):
    for first, last in ranges[category]:
        print(f'    {{"{category}", 0x{first:X}, 0x{last:X}}},')
print("};\n\n}  // namespace\n")
print("""std::string unicode_additions(std::string_view category) {
  std::string members;
  for (const Range& range : kAdditions) {
    if (!range.category.starts_with(category)) continue;
    std::array<char, 32> text{};
    std::snprintf(text.data(), text.size(), "\\\\x{%X}-\\\\x{%X}", range.first, range.last);
    members += text.data();
  }
  return members;
}

}  // namespace temper""")
