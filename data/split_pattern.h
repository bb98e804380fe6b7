// A regular expression that finds the words of a text, by PCRE2 with its JIT compiler.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

struct pcre2_real_code_8;
struct pcre2_real_match_data_8;
struct pcre2_real_match_context_8;
struct pcre2_real_jit_stack_8;

namespace temper {

/// What one thread needs to search; serves any number of patterns.
class MatchState {
 public:
  MatchState();
  ~MatchState();
  MatchState(const MatchState&) = delete;
  MatchState& operator=(const MatchState&) = delete;

 private:
  friend class SplitPattern;
  pcre2_real_match_data_8* data_ = nullptr;
  pcre2_real_match_context_8* context_ = nullptr;
  pcre2_real_jit_stack_8* stack_ = nullptr;
};

class SplitPattern {
 public:
  /// `pattern` is in PCRE2's dialect (translate_pattern). `file` is named in errors. Throws
  /// c10::ValueError where PCRE2 refuses it.
  SplitPattern(const std::string& pattern, std::string file);

  /// A match in bytes: [begin, end).
  struct Match {
    size_t begin = 0, end = 0;
  };
  /// The matches of a text one after the other, as Oniguruma's iterator gives them: an empty match
  /// right after another one is passed over.
  class Matches {
   public:
    Matches(const SplitPattern& pattern, std::string_view text, MatchState& state)
        : pattern_(pattern), text_(text), state_(state) {}
    bool next(Match& match);

   private:
    const SplitPattern& pattern_;
    std::string_view text_;
    MatchState& state_;
    size_t from_ = 0;
    size_t last_end_ = SIZE_MAX;
  };

  /// Whether it matches anywhere in `text`, which must be UTF-8.
  bool found_in(std::string_view text, MatchState& state) const;

 private:
  /// The first match at or after `from`. Throws c10::ValueError where the search takes too long.
  bool search(std::string_view text, size_t from, MatchState& state, Match& match) const;

  struct Free {
    void operator()(pcre2_real_code_8* code) const;
  };
  std::unique_ptr<pcre2_real_code_8, Free> code_;
  std::string file_;
};

}  // namespace temper
