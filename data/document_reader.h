// The documents of text and JSONL files, in portions for threads to work on. Files are mapped, and
// only what is being worked on is held in memory. A large document goes to several threads, in
// parts that the tokenizer says can be encoded by themselves.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/mapped_file.h"
#include "data/tokenizer.h"

namespace temper {

/// How to read one file.
struct DocumentSource {
  std::string path;
  bool jsonl = false;     ///< an object a line, its `field` is the document
  std::string field;      ///< for jsonl
  std::string separator;  ///< for text: what stands between documents; empty: the file is one
};

/// Some documents, or a part of one.
struct Portion {
  /// A document's text, or a part of it.
  struct Part {
    std::string_view text;
    bool begins = true, ends = true;  ///< the document
  };
  std::shared_ptr<const MappedFile> file;
  const DocumentSource* source = nullptr;
  std::string_view bytes;   ///< of the file
  std::vector<Part> parts;  ///< for text
  int64_t first_line = 0;   ///< for jsonl, counted from 1
};

class DocumentReader {
 public:
  /// Reads the sources in order. `option` is named in errors; both references must outlive this.
  DocumentReader(const std::vector<DocumentSource>& sources, const Tokenizer& tokenizer,
                 std::string option);

  /// The next portion, or nothing at the end. Throws c10::ValueError where a file cannot be read.
  std::optional<Portion> next();

 private:
  Portion text_portion();
  Portion jsonl_portion();

  const std::vector<DocumentSource>& sources_;
  const Tokenizer& tokenizer_;
  std::string option_;
  size_t source_ = 0;
  std::shared_ptr<const MappedFile> file_;
  size_t at_ = 0;            // in the file's bytes
  int64_t line_ = 1;         // of at_, for jsonl
  bool inside_ = false;      // a document has begun before at_
  size_t document_end_ = 0;  // of this document
};

/// The string `field` of the JSON object `line`. Throws c10::ValueError with a reason (not naming
/// the line) where this is no object, or the field is missing, twice there, or no string.
std::string jsonl_document(std::string_view line, const std::string& field);

}  // namespace temper
