#include "data/split_pattern.h"

#include <c10/util/Exception.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

namespace temper {

namespace {

// A pattern from a stranger must not search for ever; patterns that tokenizers use need no more
// than a few steps a character.
constexpr uint32_t kMatchLimit = 20'000'000;
constexpr size_t kJitStackStart = 32 << 10, kJitStackMost = 16 << 20;

std::string message(int code) {
  PCRE2_UCHAR text[256] = {};
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

PCRE2_SPTR subject(std::string_view text) { return reinterpret_cast<PCRE2_SPTR>(text.data()); }

}  // namespace

MatchState::MatchState()
    : data_(pcre2_match_data_create(1, nullptr)),
      context_(pcre2_match_context_create(nullptr)),
      stack_(pcre2_jit_stack_create(kJitStackStart, kJitStackMost, nullptr)) {
  TORCH_CHECK(data_ != nullptr && context_ != nullptr, "no memory for PCRE2");
  pcre2_set_match_limit(context_, kMatchLimit);
  // Without a JIT compiler there is no stack, and PCRE2 interprets.
  if (stack_ != nullptr) pcre2_jit_stack_assign(context_, nullptr, stack_);
}

MatchState::~MatchState() {
  if (stack_ != nullptr) pcre2_jit_stack_free(stack_);
  pcre2_match_context_free(context_);
  pcre2_match_data_free(data_);
}

void SplitPattern::Free::operator()(pcre2_real_code_8* code) const { pcre2_code_free(code); }

SplitPattern::SplitPattern(const std::string& pattern, std::string file) : file_(std::move(file)) {
  int error = 0;
  PCRE2_SIZE at = 0;
  const std::unique_ptr<pcre2_compile_context, decltype(&pcre2_compile_context_free)> context(
      pcre2_compile_context_create(nullptr), pcre2_compile_context_free);
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  code_.reset(pcre2_compile(subject(pattern), pattern.size(), PCRE2_UTF | PCRE2_NEVER_BACKSLASH_C,
                            &error, &at, context.get()));
  TORCH_CHECK_VALUE(code_ != nullptr, file_, ": PCRE2 cannot read the pattern ",
                    pattern.substr(0, 200), " (", message(error), ", at byte ", at,
                    "); use a tokenizer.model if the model has one");
  pcre2_jit_compile(code_.get(), PCRE2_JIT_COMPLETE);  // slower where it cannot, not wrong
}

bool SplitPattern::search(std::string_view text, size_t from, MatchState& state,
                          Match& match) const {
  const int found = pcre2_match(code_.get(), subject(text), text.size(), from, PCRE2_NO_UTF_CHECK,
                                state.data_, state.context_);
  if (found == PCRE2_ERROR_NOMATCH) return false;
  TORCH_CHECK_VALUE(found >= 0, file_, ": its pattern cannot be searched for at byte ", from,
                    " of ", text.size(), " (PCRE2: ", message(found),
                    "); split the text into documents");
  const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(state.data_);
  match = {ends[0], ends[1]};
  return true;
}

bool SplitPattern::found_in(std::string_view text, MatchState& state) const {
  Match match;
  return search(text, 0, state, match);
}

bool SplitPattern::Matches::next(Match& match) {
  while (from_ <= text_.size() && pattern_.search(text_, from_, state_, match)) {
    // Lookarounds aside, a match ends where it begins or later; \K is not translated.
    if (match.end == match.begin && match.end == last_end_) {
      ++from_;
      while (from_ < text_.size() && (static_cast<unsigned char>(text_[from_]) & 0xC0) == 0x80)
        ++from_;
      continue;
    }
    from_ = last_end_ = match.end;
    return true;
  }
  return false;
}

}  // namespace temper
