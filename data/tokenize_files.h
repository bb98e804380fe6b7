// Text files to a token file: one thread reads and writes, the others encode, and the ids come out
// in the order of the documents whatever the number of threads. Memory holds a few portions for
// each thread, however large the files are.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "data/document_reader.h"
#include "data/token_writer.h"

namespace temper {

struct TokenizeJob {
  std::vector<DocumentSource> sources;
  std::string option;                      ///< that named them, for errors
  std::optional<int32_t> end_of_document;  ///< put after each document
  bool replace_invalid = false;  ///< bytes that are no UTF-8 become U+FFFD, instead of an error
  bool any_bytes = false;        ///< the tokenizer takes any bytes: nothing is checked
  int threads = 1;
};

struct TokenizeCounts {
  int64_t documents = 0;
  int64_t empty = 0;       ///< documents without text, which are left out
  int64_t text_bytes = 0;  ///< of the documents
  int64_t replaced = 0;    ///< documents (or parts of one) that held bytes that are no UTF-8
};

/// Encodes all documents into `writer`, without committing it. `progress` is called on this thread
/// with the bytes of the files that are done. Throws c10::ValueError naming the file, and the line
/// or byte, where a document cannot be read.
TokenizeCounts tokenize_files(const TokenizeJob& job, const Tokenizer& tokenizer,
                              TokenWriter& writer,
                              const std::function<void(int64_t file_bytes)>& progress);

}  // namespace temper
