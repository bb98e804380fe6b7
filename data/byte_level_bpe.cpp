#include "data/byte_level_bpe.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <mutex>

#include "data/byte_alphabet.h"
#include "data/normal_form.h"
#include "data/pattern_dialect.h"
#include "data/utf8.h"

namespace temper {

namespace {

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
bool is_cut_space(char c) { return c == ' ' || c == '\n'; }

// Note [Where a text may be cut]
// Between an ASCII letter and a space or line feed. With the patterns below no match holds such a
// pair, so that one ends there; none on the left looks past it (a lookahead follows white space
// only, and what is left of the cut is a letter), and none on the right looks back. A space and a
// line feed compose with nothing before them. Patterns that we do not know are not cut at all.
constexpr std::array kEndsAtLetter = {
    std::string_view(kGpt2Words),
    // Llama 3
    std::string_view(
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
    // Qwen 2 to 3
    std::string_view(
        R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
    // GPT-4o, Llama 4
    std::string_view(
        R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"),
};
// Patterns that match neither letters nor spaces, and look at nothing beside a match.
constexpr std::array kNumbersAlone = {std::string_view(R"(\p{N})"), std::string_view(R"(\p{N}+)"),
                                      std::string_view(R"(\p{N}{1,3})"), std::string_view(kDigit),
                                      std::string_view(kDigits)};

template <typename Known>
bool stands_in(const Known& known, const std::string& pattern) {
  return std::find(known.begin(), known.end(), pattern) != known.end();
}

enum class Cuts { kNone, kBehindLetters, kAnywhere };

Cuts cuts_of(const ByteLevelBpe& parts) {
  // Bytes that nothing merges, changes or looks at: between any two characters.
  const bool bytes_alone = parts.merges.empty() && !parts.ignore_merges && !parts.compose &&
                           !parts.add_prefix_space && parts.splits.empty() && parts.added.empty();
  if (bytes_alone) return Cuts::kAnywhere;
  bool ends_at_letter = false;
  for (const ByteLevelBpe::Split& split : parts.splits) {
    if (stands_in(kEndsAtLetter, split.pattern)) {
      ends_at_letter = true;
    } else if (!stands_in(kNumbersAlone, split.pattern)) {
      return Cuts::kNone;
    }
  }
  // A line feed that begins a piece gets a prefix space, the rest of a text gets none.
  if (parts.add_prefix_space && ends_at_letter) return Cuts::kNone;
  if (!ends_at_letter && !parts.gpt2_words) return Cuts::kNone;
  for (const AddedToken& token : parts.added) {
    if (token.rstrip || token.single_word) return Cuts::kNone;
    for (size_t i = 1; i < token.content.size(); ++i) {
      if (is_ascii_letter(token.content[i - 1]) && is_cut_space(token.content[i]))
        return Cuts::kNone;
    }
  }
  return Cuts::kBehindLetters;
}

std::string in_normal_form(const std::string& content, bool compose) {
  std::string buffer;
  std::vector<int32_t> points;
  return compose ? std::string(normal_form_c(content, buffer, points)) : content;
}

std::unordered_map<std::string, int32_t> whole_words(const ByteLevelBpe& parts) {
  std::unordered_map<std::string, int32_t> words;
  if (!parts.ignore_merges) return words;
  const ByteAlphabet alphabet;
  for (size_t id = 0; id < parts.spelling.size(); ++id) {
    const auto bytes = alphabet.bytes(parts.spelling[id]);
    if (bytes && !bytes->empty()) words.emplace(*bytes, static_cast<int32_t>(id));
  }
  return words;
}

class ByteLevelTokenizer : public Tokenizer {
 public:
  explicit ByteLevelTokenizer(ByteLevelBpe parts)
      : parts_(std::move(parts)),
        merges_(parts_.byte_ids, parts_.merges, whole_words(parts_)),
        tokens_(
            parts_.added,
            [&](const std::string& content) { return in_normal_form(content, parts_.compose); }),
        cuts_(cuts_of(parts_)) {
    levels_ = parts_.splits;
    if (parts_.gpt2_words) levels_.emplace_back().pattern = kGpt2Words;
    for (const ByteLevelBpe::Split& split : levels_)
      patterns_.emplace_back(translate_pattern(split.pattern, parts_.path), parts_.path);
    special_.resize(parts_.spelling.size());
    for (const AddedToken& token : parts_.added) {
      if (token.special) special_[static_cast<size_t>(token.id)] = true;
    }
    parts_.merges = {};  // they are in merges_ now
  }

  int64_t vocab() const override { return static_cast<int64_t>(parts_.spelling.size()); }

  std::vector<int32_t> encode(std::string_view text) const override {
    return encode_part(text, /*first=*/true);
  }
  std::vector<int32_t> encode_rest(std::string_view text) const override {
    return encode_part(text, /*first=*/false);
  }

  size_t next_cut(std::string_view text, size_t from) const override {
    if (cuts_ == Cuts::kNone) return text.size();
    if (cuts_ == Cuts::kAnywhere) return next_character(text, from);
    for (size_t at = std::max<size_t>(from, 1); at < text.size(); ++at) {
      if (is_cut_space(text[at]) && is_ascii_letter(text[at - 1])) return at;
    }
    return text.size();
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    return decode(ids, /*special=*/false);
  }
  std::string decode_all(const std::vector<int32_t>& ids) const override {
    return decode(ids, /*special=*/true);
  }
  std::string token(int32_t id) const override { return parts_.spelling[checked(id)]; }
  std::vector<int32_t> prefix() const override { return parts_.prefix; }
  std::optional<int32_t> end_of_document() const override { return parts_.end_of_document; }
  std::string describe() const override { return "byte-level BPE " + parts_.path; }
  std::string file() const override { return parts_.path; }

 private:
  /// What one thread needs; kept for the next call.
  struct Workspace {
    AddedTokens::Workspace tokens;
    MergeWorkspace merging;
    std::vector<int32_t> points;
    std::string composed, prefixed;
  };

  /// Borrows a workspace for one call.
  class Lease {
   public:
    explicit Lease(const ByteLevelTokenizer& owner) : owner_(owner) {
      const std::lock_guard lock(owner.mutex_);
      if (!owner.idle_.empty()) {
        space_ = std::move(owner.idle_.back());
        owner.idle_.pop_back();
      }
    }
    ~Lease() {
      const std::lock_guard lock(owner_.mutex_);
      if (space_ != nullptr) owner_.idle_.push_back(std::move(space_));
    }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;
    Workspace& get() {
      if (space_ == nullptr) space_ = std::make_unique<Workspace>();
      return *space_;
    }

   private:
    const ByteLevelTokenizer& owner_;
    std::unique_ptr<Workspace> space_;
  };

  size_t checked(int32_t id) const {
    TORCH_INTERNAL_ASSERT(id >= 0 && id < vocab(), "token id ", id, " of ", vocab());
    return static_cast<size_t>(id);
  }

  std::string decode(const std::vector<int32_t>& ids, bool special) const {
    std::string text;
    for (const int32_t id : ids) {
      if (special || !special_[checked(id)]) text += parts_.bytes[checked(id)];
    }
    return text;
  }

  std::vector<int32_t> encode_part(std::string_view text, bool first) const {
    std::string replaced;
    if (find_invalid_utf8(text) != std::string_view::npos) {
      replaced = replace_invalid_utf8(text);
      text = replaced;
    }
    Lease lease(*this);
    Workspace& space = lease.get();
    std::vector<int32_t> ids;
    ids.reserve(text.size() / 3);
    const auto normalize = [&](std::string_view part) {
      return parts_.compose ? normal_form_c(part, space.composed, space.points) : part;
    };
    tokens_.split(
        text, space.tokens, normalize, [&](int32_t id) { ids.push_back(id); },
        [&](std::string_view part, bool begins) { cut(part, 0, !first && begins, space, ids); });
    return ids;
  }

  // Cuts a piece by the patterns from `level` on, and merges its words.
  void cut(std::string_view text, size_t level, bool continues, Workspace& space,
           std::vector<int32_t>& ids) const {
    const bool spaced = parts_.add_prefix_space && level == parts_.splits.size();
    if (spaced && !continues && text[0] != ' ') {
      space.prefixed.assign(" ").append(text);
      text = space.prefixed;
    }
    if (level == levels_.size()) {
      merges_.encode(text, space.merging, ids);
      return;
    }
    const ByteLevelBpe::Split& split = levels_[level];
    SplitPattern::Matches matches(patterns_[level], text, space.tokens.state);
    SplitPattern::Match match;
    size_t done = 0;
    const auto piece = [&](size_t begin, size_t end, bool dropped) {
      if (begin < end && !dropped)
        cut(text.substr(begin, end - begin), level + 1, continues && begin == 0, space, ids);
    };
    while (matches.next(match)) {
      piece(done, match.begin, split.drop_gaps);
      piece(match.begin, match.end, split.drop_matches);
      done = match.end;
    }
    piece(done, text.size(), split.drop_gaps);
  }

  ByteLevelBpe parts_;
  BytePairMerges merges_;
  AddedTokens tokens_;
  std::vector<ByteLevelBpe::Split> levels_;
  std::vector<SplitPattern> patterns_;  // of the levels
  std::vector<bool> special_;
  Cuts cuts_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Workspace>> idle_;
};

}  // namespace

std::unique_ptr<Tokenizer> make_byte_level_tokenizer(ByteLevelBpe parts) {
  return std::make_unique<ByteLevelTokenizer>(std::move(parts));
}

}  // namespace temper
