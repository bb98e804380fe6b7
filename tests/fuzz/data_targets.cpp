// Readers of data/: token files, texts, tokenizers.
#include <algorithm>
#include <array>
#include <filesystem>
#include <memory>

#include "data/corpus.h"
#include "data/data_config.h"
#include "data/sentencepiece.h"
#include "data/token_file.h"
#include "data/token_file_layout.h"
#include "data/tokenize_files.h"
#include "data/tokenizer.h"
#include "data/tokenizer_files.h"
#include "tests/data/sentencepiece_example.h"
#include "tests/fuzz/targets.h"

namespace temper {
namespace {

template <typename T>
void put(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
}

std::string npy(const std::string& dtype, int id_bytes) {
  std::string header = "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': (500,), }";
  header.resize(118, ' ');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header +
         std::string(static_cast<size_t>(500 * id_bytes), '\0');
}

std::string llmc(const LlmcKind& kind) {
  std::string bytes;
  for (const int32_t number : {kind.magic, kind.version, 500}) put(bytes, number);
  bytes.resize(kLlmcHeader);
  for (int i = 0; i < 500; ++i) {
    kind.id_bytes == 2 ? put(bytes, static_cast<uint16_t>(i))
                       : put(bytes, static_cast<uint32_t>(i));
  }
  return bytes;
}

/// Two sequences of 60 and 40 tokens of two bytes, three document boundaries.
std::string megatron_index() {
  std::string bytes(kMegatronMagic);
  put(bytes, kMegatronVersion);
  put(bytes, static_cast<uint8_t>(kMegatronU2));
  put(bytes, uint64_t{2});
  put(bytes, uint64_t{3});
  for (const int32_t length : {60, 40}) put(bytes, length);
  for (const int64_t pointer : {0, 120}) put(bytes, pointer);
  for (const int64_t document : {0, 1, 2}) put(bytes, document);
  return bytes;
}

/// All parts are read.
void read_corpus(const Corpus& corpus) {
  for (const Part part : {Part::kTrain, Part::kFit, Part::kTest}) {
    const int64_t rows = corpus.rows(part, 4);
    if (rows > 0) corpus.read(part, 1, 0, rows, 4);
  }
  corpus.describe();
  corpus.fingerprint();
}

void read_tokens(const std::string& path) {
  read_corpus(*TokenFile::open(path, /*vocab=*/60000, /*fit_share=*/0.1, /*test_share=*/0.1));
}

/// A token file of its own, recognised by its first bytes.
FuzzReader token_reader(const std::string& path, std::vector<std::string> seeds,
                        std::vector<std::string> words) {
  return {std::move(seeds),
          [path](const std::string& bytes) {
            write_file(path, bytes);
            read_tokens(path);
          },
          std::move(words)};
}

/// A text is encoded and given back.
void use_tokenizer(const std::string& path) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(path, "data.tokenizer");
  const std::string text =
      "It's 1234 words,\n\n  caf\u00e9 \xf0\x9f\x8e\x89\t<|endoftext|> \xff!\n "
      "<s>x<|im_end|>\n<tool>";
  const std::vector<int32_t> ids = tokenizer->encode(text);
  tokenizer->decode(ids);
  tokenizer->decode_all(ids);
  for (const int32_t id : ids) tokenizer->token(id);
  tokenizer->prefix();
  tokenizer->end_of_document();
  fingerprint(*tokenizer);
  const size_t cut = tokenizer->next_cut(text, 1);
  if (cut < text.size()) tokenizer->encode_rest(std::string_view(text).substr(cut));
}

FuzzReader tokenizer_json_reader(const std::string& work) {
  std::vector<std::string> seeds = {byte_tokenizer_json()};
  for (const char* name : {"flags", "gpt2", "llama3", "qwen2"})
    seeds.push_back(
        file_content(source_file(std::string("tests/data/golden/") + name + "/tokenizer.json")));
  std::vector<std::string> words = quoted_words(seeds);
  return {std::move(seeds),
          [path = work + "/tokenizer.json"](const std::string& bytes) {
            write_file(path, bytes);
            use_tokenizer(path);
          },
          std::move(words)};
}

std::string some_text() {
  std::string text;
  for (int i = 0; i < 300; ++i) {
    text += "The " + std::to_string(i * i) + "th word of \u00e9t\u00e9 is " +
            std::string(1, static_cast<char>('a' + i % 26)) + std::to_string(i % 7) + ".\n";
  }
  return text;
}

FuzzReader sentencepiece_reader(const std::string& work) {
  const std::string path = work + "/tokenizer.model";
  train_sentencepiece(some_text(), 300, path);
  return {{file_content(path), nfkc_model("unigram"), nfkc_model("bpe")},
          [path](const std::string& bytes) {
            write_file(path, bytes);
            use_tokenizer(path);
          },
          {}};
}

/// The files that add tokens to a SentencePiece model, one after the other with a NUL byte between,
/// which none of them can hold.
FuzzReader added_pieces_reader(const std::string& work) {
  const std::array names = {"tokenizer_config.json", "added_tokens.json",
                            "special_tokens_map.json"};
  const auto golden = [](const std::string& kind) {
    return source_file("tests/data/golden_pieces/" + kind + "/");
  };
  write_file(work + "/tokenizer.model", file_content(golden("added") + "tokenizer.model"));
  std::vector<std::string> seeds, texts;
  for (const char* kind : {"added", "decoder", "named", "llama", "bare", "spaced"}) {
    std::string seed;
    for (const char* name : names) {
      const bool there = std::filesystem::exists(golden(kind) + name);
      texts.push_back(there ? file_content(golden(kind) + name) : "");
      seed += texts.back() + std::string(1, '\0');
    }
    seeds.push_back(seed);
  }
  return {std::move(seeds),
          [work, names](const std::string& bytes) {
            std::string_view rest = bytes;
            for (const char* name : names) {
              const size_t end = std::min(rest.find('\0'), rest.size());
              std::filesystem::remove(work + "/" + name);
              if (end > 0) write_file(work + "/" + name, rest.substr(0, end));
              rest.remove_prefix(std::min(end + 1, rest.size()));
            }
            use_tokenizer(work + "/tokenizer.model");
          },
          quoted_words(texts)};
}

FuzzReader text_reader(const std::string& work) {
  return {{some_text().substr(0, 2000), "caf\u00e9 \u20ac and so on, and so on, and so on"},
          [path = work + "/corpus.txt", work](const std::string& bytes) {
            write_file(path, bytes);
            DataConfig config;
            config.source = "text";
            config.text = path;
            config.fit_share = config.test_share = 0.1;
            for (const std::string& tokenizer :
                 {std::string("bytes"), source_file("tests/data/golden/gpt2/tokenizer.json")}) {
              config.tokenizer = tokenizer;
              config.validate();
              read_corpus(*open_corpus(config, work, /*may_write=*/false));
            }
          },
          {"\xef\xbb\xbf", "<|endoftext|>", "\xed\xa0\x80", "\xf4\x90"}};
}

/// Documents of JSONL to token ids, as `temper tokenize` does it.
FuzzReader jsonl_reader(const std::string& work) {
  const std::vector<std::string> seeds = {
      "{\"text\": \"one\"}\n{\"id\": [1, {\"text\": 2}], \"text\": \"two "
      "\\u00e9\\ud83d\\ude00\"}\n\n",
      "{\"text\":\"\"}\r\n{\"meta\":{\"a\":null},\"text\":\"three\\n\"}"};
  const auto tokenizer = std::shared_ptr<Tokenizer>(make_byte_tokenizer());
  return {seeds,
          [tokenizer, work](const std::string& bytes) {
            write_file(work + "/documents.jsonl", bytes);
            TokenizeJob job;
            job.sources = {{work + "/documents.jsonl", true, "text", ""}};
            job.option = "tokenize.input";
            TokenWriter writer(work + "/ids.npy", TokenFormat::kNpy, tokenizer->vocab());
            tokenize_files(job, *tokenizer, writer, [](int64_t) {});
          },
          quoted_words(seeds)};
}

}  // namespace

std::vector<FuzzTarget> data_targets() {
  return {
      {"npy",
       [](const std::string& work) {
         return token_reader(
             work + "/x.npy", {npy("<u2", 2), npy("<i8", 8), npy("|u1", 1)},
             {"'descr': '", "<u4", "<i4", ">u2", "'shape': (", ",)", std::string(kNpyMagic)});
       }},
      {"llmc",
       [](const std::string& work) {
         return token_reader(work + "/x.bin", {llmc(kLlmcShort), llmc(kLlmcLong)}, {});
       }},
      {"megatron",
       [](const std::string& work) -> FuzzReader {
         write_file(work + "/m.bin", std::string(200, '\1'));
         return {{megatron_index()},
                 [path = work + "/m.idx"](const std::string& bytes) {
                   write_file(path, bytes);
                   read_tokens(path);
                 },
                 {}};
       }},
      {"text", text_reader},
      {"jsonl", jsonl_reader},
      {"tokenizer_json", tokenizer_json_reader},
      {"sentencepiece", sentencepiece_reader},
      {"added_pieces", added_pieces_reader},
  };
}

}  // namespace temper
