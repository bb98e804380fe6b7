#include "data/added_pieces.h"

#include <c10/util/Exception.h>

#include <algorithm>

#include "data/utf8.h"

namespace temper {

namespace {

constexpr std::string_view kSpacePiece = "\xE2\x96\x81";  // U+2581, a space in pieces

bool is_text_character(char c) {
  return static_cast<unsigned char>(c) > ' ' && static_cast<unsigned char>(c) < 0x7F;
}

class PiecesAndTokens : public Tokenizer {
 public:
  PiecesAndTokens(std::unique_ptr<PieceTokenizer> model, AddedPieces added)
      : model_(std::move(model)),
        added_(std::move(added)),
        in_text_(tokens_in_text(added_)),
        finder_(in_text_, [](const std::string& content) { return content; }),
        pieces_(model_->vocab()),
        vocab_(pieces_) {
    for (const AddedToken& token : added_.tokens) vocab_ = std::max(vocab_, int64_t{token.id} + 1);
    token_of_id_.assign(static_cast<size_t>(vocab_), -1);
    for (size_t i = 0; i < added_.tokens.size(); ++i)
      token_of_id_[static_cast<size_t>(added_.tokens[i].id)] = static_cast<int32_t>(i);
  }

  int64_t vocab() const override { return vocab_; }

  std::vector<int32_t> encode(std::string_view text) const override {
    return encode_part(text, /*first=*/true);
  }
  std::vector<int32_t> encode_rest(std::string_view text) const override {
    return encode_part(text, /*first=*/false);
  }

  size_t next_cut(std::string_view text, size_t from) const override {
    for (size_t at = from; at < text.size(); ++at) {
      at = model_->next_cut(text, at);
      if (at >= text.size() || tokens_allow_cut(text, at)) return at;
    }
    return text.size();
  }

  std::string decode(const std::vector<int32_t>& ids) const override {
    return decode(ids, /*special=*/false);
  }
  std::string decode_all(const std::vector<int32_t>& ids) const override {
    return decode(ids, /*special=*/true);
  }

  std::string token(int32_t id) const override {
    const AddedToken* added = added_token(id);
    return added != nullptr ? added->content : model_->token(id);
  }
  std::vector<int32_t> prefix() const override {
    return added_.beginning_of_text ? std::vector<int32_t>{*added_.beginning_of_text}
                                    : std::vector<int32_t>{};
  }
  std::optional<int32_t> end_of_document() const override { return added_.end_of_text; }
  std::string describe() const override {
    const int64_t more = vocab_ - pieces_;
    return model_->describe() + (more > 0 ? " with " + std::to_string(more) + " added tokens" : "");
  }
  std::string file() const override { return model_->file(); }

 private:
  static std::vector<AddedToken> tokens_in_text(const AddedPieces& added) {
    std::vector<AddedToken> tokens;
    std::copy_if(
        added.tokens.begin(), added.tokens.end(), std::back_inserter(tokens),
        [&](const AddedToken& token) { return !(token.special && added.split_special_tokens); });
    return tokens;
  }

  const AddedToken* added_token(int32_t id) const {
    TORCH_INTERNAL_ASSERT(id >= 0 && id < vocab_, "token id ", id, " of ", vocab_);
    const int32_t index = token_of_id_[static_cast<size_t>(id)];
    return index < 0 ? nullptr : &added_.tokens[static_cast<size_t>(index)];
  }

  std::vector<int32_t> encode_part(std::string_view text, bool first) const {
    std::string replaced;
    if (find_invalid_utf8(text) != std::string_view::npos) {
      replaced = replace_invalid_utf8(text);
      text = replaced;
    }
    AddedTokens::Workspace space;
    std::vector<int32_t> ids;
    finder_.split(
        text, space, [](std::string_view part) { return part; },
        [&](int32_t id) { ids.push_back(id); },
        [&](std::string_view part, bool begins) {
          const std::vector<int32_t> more =
              !begins ? model_->encode_after_token(part, added_.space_after_tokens)
              : first ? model_->encode(part)
                      : model_->encode_rest(part);
          ids.insert(ids.end(), more.begin(), more.end());
        });
    return ids;
  }

  // The model may be cut at `at`, after a line feed; no token reaches over that place, or takes the
  // spaces on its other side, and what follows it would not be encoded otherwise.
  bool tokens_allow_cut(std::string_view text, size_t at) const {
    size_t last = at;
    while (last > 0 && text[last - 1] == '\n') --last;
    const std::string_view before = text.substr(0, last), after = text.substr(at);
    for (const AddedToken& token : in_text_) {
      if ((token.lstrip || token.rstrip) &&
          (last == 0 || !is_text_character(before.back()) || !is_text_character(after[0])))
        return false;
      if (token.rstrip && before.ends_with(token.content)) return false;
      if (token.lstrip && after.starts_with(token.content)) return false;
      if (token.content.find('\n') == std::string::npos) continue;
      const bool may_end_here = !added_.space_after_tokens && !token.single_word && !token.rstrip;
      const size_t size = token.content.size();
      for (size_t left = 1; left <= std::min(size, at); ++left) {
        if (text.substr(at - left, size) == token.content && !(left == size && may_end_here))
          return false;
      }
    }
    return true;
  }

  // As transformers: the pieces between tokens that give text are decoded together, and only at the
  // very beginning the model's space is taken away.
  std::string decode(const std::vector<int32_t>& ids, bool special) const {
    std::string text;
    std::vector<int32_t> pieces;
    bool begins = true;
    const auto give_pieces = [&] {
      if (pieces.empty()) return;
      text += begins ? model_->decode(pieces) : model_->decode_after_token(pieces);
      begins = false;
      pieces.clear();
    };
    for (const int32_t id : ids) {
      const AddedToken* token = added_token(id);
      if (token == nullptr) {
        pieces.push_back(id);
      } else if (special || !token->special) {
        give_pieces();
        text += with_spaces(token->content);
        begins = false;
      }
    }
    give_pieces();
    return text;
  }

  static std::string with_spaces(std::string content) {
    for (size_t at = 0; (at = content.find(kSpacePiece, at)) != std::string::npos; ++at)
      content.replace(at, kSpacePiece.size(), " ");
    return content;
  }

  std::unique_ptr<PieceTokenizer> model_;
  AddedPieces added_;
  std::vector<AddedToken> in_text_;  // that are recognised in a text
  AddedTokens finder_;
  int64_t pieces_, vocab_;
  std::vector<int32_t> token_of_id_;  // its place in added_.tokens, or -1
};

}  // namespace

std::unique_ptr<Tokenizer> with_added_pieces(std::unique_ptr<PieceTokenizer> model,
                                             AddedPieces added) {
  return std::make_unique<PiecesAndTokens>(std::move(model), std::move(added));
}

}  // namespace temper
