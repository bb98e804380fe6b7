// A file of token ids that somebody made already, memory-mapped: NumPy's .npy (one dimension; u1,
// u2, u4, i4 or i8), llm.c's .bin (GPT-2's and Llama 3's), or Megatron's .bin with its .idx. The
// format is recognised by the first bytes of the file or of its index, not by a name.
#pragma once

#include <optional>

#include "data/mapped_file.h"
#include "data/token_stream.h"

namespace temper {

class TokenFile : public TokenStream {
 public:
  /// Checks every id once (a pass over the file, at memory speed). `path` of Megatron's files may
  /// be the .bin, the .idx, or what both names begin with. Throws c10::ValueError naming the file,
  /// and the position and value of an id outside [0, vocab). `aligned_rows`: as TokenStream has it.
  static std::unique_ptr<TokenFile> open(const std::string& path, int64_t vocab, double fit_share,
                                         double test_share, bool aligned_rows = false);

  /// Names the tokenizer that the ids were made with, which the file does not say.
  void made_with(std::string tokenizer_file) { tokenizer_file_ = std::move(tokenizer_file); }
  std::string tokenizer_file() const override { return tokenizer_file_; }

  std::string describe() const override;
  uint64_t fingerprint() const override;

  /// How ids lie in the file.
  struct Layout {
    std::string format;  ///< as a person calls it
    size_t begin = 0;    ///< of the first id, in bytes
    int64_t count = 0;   ///< of ids
    int id_bytes = 2;
    bool is_signed = false;
  };
  /// Recognises a format that needs no other file. Throws c10::ValueError naming the file and what
  /// is wrong with it.
  static std::optional<Layout> recognise(std::string_view bytes, const std::string& path);

 protected:
  void copy(int64_t begin, int64_t count, int64_t* out) const override;

 private:
  TokenFile(MappedFile file, Layout layout, std::string path, int64_t vocab, double fit_share,
            double test_share, bool aligned_rows);
  void check_ids() const;

  MappedFile file_;
  Layout layout_;
  std::string path_;
  std::string tokenizer_file_;
};

}  // namespace temper
