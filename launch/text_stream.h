// From token ids to text as they come: nothing is given out that later tokens may still change. A
// character whose bytes have not all come is held back, and so is what may turn out to be the
// beginning of a stop string.
#pragma once

#include <string>
#include <vector>

#include "data/tokenizer.h"

namespace temper {

class TextStream {
 public:
  /// `prompt`: the ids before the first new one; a token's text may depend on its predecessors. The
  /// tokenizer must outlive this object; `stops` are not empty strings.
  TextStream(const Tokenizer& tokenizer, const std::vector<int64_t>& prompt,
             std::vector<std::string> stops);

  /// Takes one token -> the text that may be shown now, often none. Ids outside the tokenizer's
  /// vocabulary (padding of the model's) have no text.
  std::string push(int64_t token);
  /// No token follows -> what was held back.
  std::string finish();

  /// A stop string has come: it and all after it are not given out.
  bool stopped() const { return stopped_; }
  /// All that push() and finish() have given out.
  const std::string& text() const { return text_; }

 private:
  std::string take_text(bool last);
  std::string give(bool last);

  const Tokenizer& tokenizer_;
  const std::vector<std::string> stops_;
  std::vector<int32_t> ids_;  // some of the prompt, then all new ones
  size_t begin_ = 0;          // decoding starts here: tokens before the unread ones, for context
  size_t read_;               // the text of ids before this has been taken
  std::string held_;          // taken, but may belong to a stop string
  std::string text_;
  bool stopped_ = false;
};

}  // namespace temper
