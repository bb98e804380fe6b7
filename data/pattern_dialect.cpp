#include "data/pattern_dialect.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "data/unicode_additions.h"

namespace temper {

namespace {

constexpr size_t kLongestPattern = 16384;
constexpr std::string_view kSpecial = "\\^$.[]|()?*+{}-&/#~";

// Unicode's White_Space, as members of a class.
constexpr std::string_view kSpaces =
    "\\x09-\\x0D\\x20\\x{85}\\x{A0}\\x{1680}\\x{2000}-\\x{200A}\\x{2028}\\x{2029}\\x{202F}"
    "\\x{205F}\\x{3000}";
constexpr std::string_view kHexDigits = "0-9a-fA-F";

bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }
bool is_hex_digit(char c) {
  return is_digit(c) || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

class Translation {
 public:
  Translation(std::string_view pattern, const std::string& file) : pattern_(pattern), file_(file) {}

  std::string run() {
    TORCH_CHECK_VALUE(pattern_.size() <= kLongestPattern, file_, ": a pattern of ", pattern_.size(),
                      " bytes; temper reads at most ", kLongestPattern);
    while (at_ < pattern_.size()) next();
    return std::move(out_);
  }

 private:
  [[noreturn]] void refuse(const std::string& what) const {
    TORCH_CHECK_VALUE(false, file_, ": the pattern ", std::string(pattern_.substr(0, 200)),
                      " holds ", what, " (at byte ", at_,
                      "), which temper does not translate from Oniguruma to PCRE2; use a "
                      "tokenizer.model if the model has one");
  }

  bool follows(std::string_view what) const { return pattern_.substr(at_).starts_with(what); }
  char here() const { return at_ < pattern_.size() ? pattern_[at_] : '\0'; }

  void literal(char c) {
    if (kSpecial.find(c) != std::string_view::npos && c != '\0') out_ += '\\';
    out_ += c;
  }

  void next() {
    const char c = pattern_[at_];
    if (c == '\0') refuse("a zero byte");
    if (c == '\\') {
      escape(/*in_class=*/false);
      return;
    }
    if (c == '[') return character_class();
    if (c == '(') return group();
    if (c == '?' || c == '*' || c == '+') return repeat();
    if (c == '{') return count();
    ++at_;
    if (c == '^' || c == '$') {
      out_.append("(?m:").append(1, c).append(")");
    } else if (c == ')' || c == '|' || c == '.') {
      out_ += c;
    } else {
      literal(c);
    }
  }

  void group() {
    for (const std::string_view known :
         {"(?:", "(?=", "(?!", "(?>", "(?<=", "(?<!", "(?i:", "(?-i:"}) {
      if (!follows(known)) continue;
      out_ += known;
      at_ += known.size();
      return;
    }
    if (follows("(?") || follows("(*")) refuse("the group " + std::string(pattern_.substr(at_, 4)));
    out_ += "(?:";  // nothing refers back to it
    ++at_;
  }

  void repeat() {
    out_ += pattern_[at_++];
    if (here() == '?' || here() == '+') out_ += pattern_[at_++];  // lazy, possessive
    if (here() == '?' || here() == '*' || here() == '+') refuse("a repeat of a repeat");
  }

  void count() {
    const size_t close = pattern_.find('}', at_);
    const std::string inside(
        pattern_.substr(at_ + 1, close == std::string_view::npos ? 0 : close - at_ - 1));
    const size_t comma = inside.find(',');
    const std::string least = inside.substr(0, comma);
    const std::string most = comma == std::string::npos ? "" : inside.substr(comma + 1);
    const bool digits = std::all_of(least.begin(), least.end(), is_digit) &&
                        std::all_of(most.begin(), most.end(), is_digit);
    if (!digits || (least.empty() && most.empty())) refuse("a brace that counts nothing");
    at_ = close + 1;
    out_ +=
        "{" + (least.empty() ? "0" : least) + (comma == std::string::npos ? "" : "," + most) + "}";
    // In Ruby's dialect {n}? is an optional {n}, and {n,m}+ a repeat of a repeat.
    if (here() == '+' || here() == '*' || (here() == '?' && comma == std::string::npos))
      refuse("a repeat of a repeat");
    if (here() == '?') out_ += pattern_[at_++];
  }

  // Writes one escape; true where it stands for one character, that may end a range.
  bool escape(bool in_class) {
    ++at_;
    if (at_ == pattern_.size()) refuse("a lone backslash");
    const char c = pattern_[at_++];
    switch (c) {
      case 's':
      case 'S':
        if (in_class && c == 'S') break;
        return set(kSpaces, c == 'S', in_class);
      case 'w':
      case 'W':
        if (in_class && c == 'W') break;
        return set(word_characters(), c == 'W', in_class);
      case 'h':
      case 'H':
        if (in_class && c == 'H') break;
        return set(kHexDigits, c == 'H', in_class);
      case 'd':
      case 'D':
        if (in_class && c == 'D') break;
        return set("\\p{Nd}" + unicode_additions("Nd"), c == 'D', in_class);
      case 'p':
      case 'P':
        return property(c, in_class);
      case 'n':
      case 'r':
      case 't':
      case 'f':
      case 'e':
      case 'a':
        out_.append("\\").append(1, c);
        return true;
      case 'v':
        out_ += "\\x0B";
        return true;
      case 'x':
      case 'u':
        return code_point(c);
      case 'A':
      case 'z':
        if (in_class) break;
        out_.append("\\").append(1, c);
        return false;
      default:
        if (is_letter(c) || is_digit(c)) break;
        if (static_cast<unsigned char>(c) < 0x80) out_ += '\\';
        out_ += c;
        return true;
    }
    refuse(std::string("\\") + c + (in_class ? " inside a class" : ""));
  }

  // Writes a set of characters; it is nothing that may end a range. Inside a class a negated set
  // is only written where nothing was added to it.
  bool set(std::string_view members, bool negated, bool in_class) {
    if (in_class) {
      out_ += members;
    } else {
      out_.append(negated ? "[^" : "[").append(members).append("]");
    }
    return false;
  }

  static std::string word_characters() {
    std::string members;
    for (const char* category : {"L", "M", "Nd", "Pc"})
      members += std::string("\\p{") + category + "}" + unicode_additions(category);
    return members;
  }

  bool property(char sign, bool in_class) {
    const size_t close = pattern_.find('}', at_);
    if (here() != '{' || close == std::string_view::npos) refuse("\\p without braces");
    std::string name(pattern_.substr(at_ + 1, close - at_ - 1));
    bool negated = sign == 'P';
    if (!name.empty() && name[0] == '^') {
      negated = !negated;
      name.erase(0, 1);
    }
    const bool plain = !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
      return is_letter(c) || c == '_';
    });
    if (!plain) refuse("the property " + name);
    at_ = close + 1;
    if (name.size() > 2) {  // a script, as such and not by its extensions
      out_ += std::string(negated ? "\\P{" : "\\p{") + "sc:" + name + "}";
      return false;
    }
    const std::string added = unicode_additions(name);
    if (in_class && negated && !added.empty()) refuse("\\P{" + name + "} inside a class");
    return set((negated && in_class ? "\\P{" : "\\p{") + name + "}" + added, negated, in_class);
  }

  bool code_point(char sign) {
    const bool braces = sign == 'x' && here() == '{';
    if (braces) ++at_;
    const size_t most = sign == 'u' ? 4 : braces ? 6 : 2;
    std::string digits;
    while (digits.size() < most && is_hex_digit(here())) digits += pattern_[at_++];
    const bool complete = braces ? here() == '}' : digits.size() == most;
    // A single byte above 0x7F is no character.
    const bool byte = sign == 'x' && !braces && digits >= "80";
    if (digits.empty() || !complete || byte) refuse(std::string("an unfinished \\") + sign);
    if (braces) ++at_;
    out_ += "\\x{" + digits + "}";
    return true;
  }

  void character_class() {
    out_ += '[';
    ++at_;
    if (here() == '^') out_ += pattern_[at_++];
    if (here() == ']') refuse("an empty class");
    bool ends_range = false;  // what was written last is one character
    while (here() != ']') {
      if (at_ >= pattern_.size()) refuse("a class without end");
      const char c = here();
      if (c == '[') refuse("a class inside a class");
      if (follows("&&")) refuse("an intersection of classes (&&)");
      if (c == '\0') refuse("a zero byte");
      if (c == '-') {
        ++at_;
        const bool range = ends_range && here() != ']';
        if (range && (follows("\\p") || follows("\\P") || follows("\\s") || follows("\\w") ||
                      follows("\\d") || follows("\\h") || follows("\\D")))
          refuse("a range that ends with a class");
        out_ += range ? "-" : "\\-";
        ends_range = !range && !ends_range;
        if (range) {  // its other end
          if (here() == '\\') {
            escape(true);
          } else if (here() == '[' || here() == '-' || follows("&&")) {
            refuse("a range with an odd end");
          } else {
            character();
          }
          ends_range = false;
        }
      } else if (c == '\\') {
        ends_range = escape(true);
      } else {
        character();
        ends_range = true;
      }
    }
    out_ += ']';
    ++at_;
  }

  // One character of a class, with all its bytes.
  void character() {
    const char c = pattern_[at_++];
    literal(c);
    if (static_cast<unsigned char>(c) < 0x80) return;
    while (at_ < pattern_.size() && (static_cast<unsigned char>(pattern_[at_]) & 0xC0) == 0x80)
      out_ += pattern_[at_++];
  }

  std::string_view pattern_;
  const std::string& file_;
  size_t at_ = 0;
  std::string out_;
};

}  // namespace

std::string translate_pattern(std::string_view pattern, const std::string& file) {
  return Translation(pattern, file).run();
}

std::string quote_pattern(std::string_view text) {
  std::string quoted;
  for (const char c : text) {
    if (kSpecial.find(c) != std::string_view::npos) quoted += '\\';
    quoted += c;
  }
  return quoted;
}

}  // namespace temper
