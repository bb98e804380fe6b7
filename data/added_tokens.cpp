#include "data/added_tokens.h"

#include <algorithm>

#include "data/pattern_dialect.h"
#include "data/unicode_additions.h"
#include "data/utf8.h"

namespace temper {

namespace {

// \w as Rust's regex crate has it (Unicode Technical Standard 18, annex C).
std::string word() {
  std::string members = "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\x{200C}\\x{200D}";
  for (const char* category : {"L", "M", "Nd", "Nl", "Pc"}) members += unicode_additions(category);
  return "[" + members + "]";
}

std::string spaces() { return translate_pattern("\\s", "white space"); }

std::vector<AddedToken> of_kind(const std::vector<AddedToken>& tokens, bool normalized) {
  std::vector<AddedToken> chosen;
  std::copy_if(tokens.begin(), tokens.end(), std::back_inserter(chosen),
               [&](const AddedToken& token) { return token.normalized == normalized; });
  return chosen;
}

std::vector<AddedToken> looked_for_as(
    std::vector<AddedToken> tokens,
    const std::function<std::string(const std::string&)>& normalize) {
  for (AddedToken& token : tokens) token.content = normalize(token.content);
  return tokens;
}

size_t last_character(std::string_view text) {
  size_t at = text.size() - 1;
  while (at > 0 && (static_cast<unsigned char>(text[at]) & 0xC0) == 0x80) --at;
  return at;
}

}  // namespace

AddedTokenFinder::AddedTokenFinder(std::vector<AddedToken> tokens)
    : tokens_(std::move(tokens)),
      word_before_(word() + "\\z", "added tokens"),
      word_after_("\\A" + word(), "added tokens"),
      spaces_before_("\\A" + spaces() + "\\z", "added tokens"),
      spaces_after_("\\A" + spaces() + "*+", "added tokens") {
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string& content = tokens_[i].content;
    if (content.empty() || !by_content_.emplace(content, i).second) continue;
    lengths_[static_cast<unsigned char>(content[0])].push_back(content.size());
  }
  for (std::vector<size_t>& lengths : lengths_) {
    std::sort(lengths.begin(), lengths.end(), std::greater<>());
    lengths.erase(std::unique(lengths.begin(), lengths.end()), lengths.end());
  }
}

const AddedToken* AddedTokenFinder::longest_at(std::string_view text, size_t at) const {
  for (const size_t length : lengths_[static_cast<unsigned char>(text[at])]) {
    if (length > text.size() - at) continue;
    const auto found = by_content_.find(text.substr(at, length));
    if (found != by_content_.end()) return &tokens_[found->second];
  }
  return nullptr;
}

void AddedTokenFinder::split(std::string_view text, std::vector<Piece>& pieces,
                             MatchState& state) const {
  if (by_content_.empty()) {
    if (!text.empty()) pieces.push_back({0, text.size(), -1});
    return;
  }
  size_t done = 0, at = 0;
  while (at < text.size()) {
    if (lengths_[static_cast<unsigned char>(text[at])].empty()) {
      ++at;
      continue;
    }
    const AddedToken* token = longest_at(text, at);
    if (token == nullptr) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + token->content.size();
    at = end;
    if (token->single_word) {
      const std::string_view before = text.substr(0, begin), after = text.substr(end);
      const bool inside = (!before.empty() &&
                           word_before_.found_in(before.substr(last_character(before)), state)) ||
                          (!after.empty() &&
                           word_after_.found_in(after.substr(0, next_character(after, 1)), state));
      if (inside) continue;
    }
    if (token->lstrip) {
      while (begin > done) {
        const size_t last = last_character(text.substr(0, begin));
        if (!spaces_before_.found_in(text.substr(last, begin - last), state)) break;
        begin = last;
      }
      begin = std::max(begin, done);
    }
    if (token->rstrip) {
      SplitPattern::Match match;
      SplitPattern::Matches matches(spaces_after_, text.substr(end), state);
      if (matches.next(match)) end += match.end;
    }
    if (done < begin) pieces.push_back({done, begin, -1});
    pieces.push_back({begin, end, token->id});
    done = end;
  }
  if (done < text.size()) pieces.push_back({done, text.size(), -1});
}

AddedTokens::AddedTokens(const std::vector<AddedToken>& tokens,
                         const std::function<std::string(const std::string&)>& normalize)
    : raw_(of_kind(tokens, false)), normalized_(looked_for_as(of_kind(tokens, true), normalize)) {}

}  // namespace temper
