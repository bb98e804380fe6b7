#include "launch/text_stream.h"

#include <algorithm>
#include <string_view>

namespace temper {
namespace {

// Enough tokens for the text of the next one to come out as in the whole.
constexpr size_t kContext = 8;
// A character has at most four bytes, so at most four tokens: after so many, broken bytes stay so.
constexpr size_t kLongestCharacter = 4;

// Whether the text ends inside a character: in an unfinished sequence of bytes, or in the
// replacement character that tokenizers write for one.
bool ends_broken(std::string_view text) {
  constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
  if (text.ends_with(kReplacement)) return true;
  for (size_t back = 1; back <= std::min<size_t>(3, text.size()); ++back) {
    const auto byte = static_cast<unsigned char>(text[text.size() - back]);
    if ((byte & 0xC0) == 0x80) continue;  // inside a character
    const size_t wanted = byte >= 0xF0 ? 4 : byte >= 0xE0 ? 3 : byte >= 0xC0 ? 2 : 1;
    return wanted > back;
  }
  return false;
}

}  // namespace

TextStream::TextStream(const Tokenizer& tokenizer, const std::vector<int64_t>& prompt,
                       std::vector<std::string> stops)
    : tokenizer_(tokenizer), stops_(std::move(stops)) {
  const size_t context = std::min(kContext, prompt.size());
  for (size_t i = prompt.size() - context; i < prompt.size(); ++i) {
    if (prompt[i] < tokenizer.vocab()) ids_.push_back(static_cast<int32_t>(prompt[i]));
  }
  read_ = ids_.size();
}

std::string TextStream::take_text(bool last) {
  const auto text_of = [&](size_t begin, size_t end) {
    return tokenizer_.decode({ids_.begin() + static_cast<std::ptrdiff_t>(begin),
                              ids_.begin() + static_cast<std::ptrdiff_t>(end)});
  };
  const std::string before = text_of(begin_, read_), all = text_of(begin_, ids_.size());
  const bool patient = !last && ids_.size() - read_ < kLongestCharacter;
  if (patient && (all.size() <= before.size() || ends_broken(all))) return {};
  // A broken end of `before` may have become another text: what both share has been given out.
  const auto differ = std::mismatch(before.begin(), before.end(), all.begin(), all.end());
  if (ids_.size() > kContext) begin_ = std::max(begin_, std::min(read_, ids_.size() - kContext));
  read_ = ids_.size();
  return {differ.second, all.end()};
}

// The beginning of what is held that no stop string can claim.
std::string TextStream::give(bool last) {
  size_t end = held_.size();
  for (const std::string& stop : stops_) {
    const size_t at = held_.find(stop);
    if (at < end) {
      end = at;
      stopped_ = true;
    }
  }
  if (!stopped_ && !last) {
    for (const std::string& stop : stops_) {
      for (size_t length = std::min(stop.size() - 1, held_.size()); length > 0; --length) {
        if (std::string_view(held_).ends_with(std::string_view(stop).substr(0, length))) {
          end = std::min(end, held_.size() - length);
          break;
        }
      }
    }
  }
  const std::string given = held_.substr(0, end);
  held_.erase(0, stopped_ ? std::string::npos : end);
  text_ += given;
  return given;
}

std::string TextStream::push(int64_t token) {
  if (stopped_) return {};
  if (token >= 0 && token < tokenizer_.vocab()) ids_.push_back(static_cast<int32_t>(token));
  held_ += take_text(/*last=*/false);
  return give(/*last=*/false);
}

std::string TextStream::finish() {
  if (stopped_) return {};
  held_ += take_text(/*last=*/true);
  return give(/*last=*/true);
}

}  // namespace temper
