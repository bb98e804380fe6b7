#include "tests/fuzz/targets.h"

#include <ATen/ATen.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>

#include "data/checksum.h"
#include "data/token_file.h"
#include "data/tokenizer.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"
#include "teacher/store_fit.h"
#include "teacher/store_shard.h"
#include "tests/teacher/store_example.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

std::string content(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A golden folder, copied, of which one file is mutated and the whole opened.
FuzzTarget folder_target(const std::string& name, const std::vector<std::string>& golden,
                         const std::string& file, const std::string& work) {
  FuzzTarget target;
  target.name = name;
  const std::string dir = work + "/" + name;
  fs::copy(golden.front(), dir, fs::copy_options::recursive);
  for (const std::string& folder : golden) target.seeds.push_back(content(folder + "/" + file));
  target.file = name + "/" + file;
  target.use = [dir] {
    LoadOptions as_it_is;
    as_it_is.dtype = std::nullopt;
    load_model(dir, as_it_is);
  };
  return target;
}

/// Every tensor's every byte is read.
void read_all(const std::string& path) {
  const SafetensorsFile file(path);
  uint64_t sum = 0;
  for (const std::string& name : file.names()) {
    const at::Tensor tensor = file.tensor(name).contiguous();
    const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) sum += bytes[i];
  }
  volatile uint64_t sink = sum;
  (void)sink;
}

std::string npy(const std::string& dtype, int id_bytes) {
  std::string header = "{'descr': '" + dtype + "', 'fortran_order': False, 'shape': (500,), }";
  header.resize(118, ' ');
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header +
         std::string(static_cast<size_t>(500 * id_bytes), '\0');
}

std::string llmc() {
  std::vector<int32_t> header(256, 0);
  header[0] = 20240520;
  header[1] = 1;
  header[2] = 500;
  return std::string(reinterpret_cast<const char*>(header.data()), 1024) + std::string(1000, '\1');
}

/// All parts of a token file are read.
void read_tokens(const std::string& path) {
  const std::unique_ptr<TokenFile> tokens = TokenFile::open(path, 60000, 0.1, 0.1);
  for (const Part part : {Part::kTrain, Part::kFit, Part::kTest}) {
    const int64_t rows = tokens->rows(part, 4);
    if (rows > 0) tokens->read(part, 1, 0, rows, 4);
  }
}

/// A text is encoded and given back.
void use_tokenizer(const std::string& path) {
  const std::unique_ptr<Tokenizer> tokenizer = open_tokenizer(path, "data.tokenizer");
  const std::string text = "It's 1234 words,\n\n  caf\u00e9 \xf0\x9f\x8e\x89\t<|endoftext|> \xff!";
  const std::vector<int32_t> ids = tokenizer->encode(text);
  tokenizer->decode(ids);
  tokenizer->decode_all(ids);
  for (const int32_t id : ids) tokenizer->token(id);
  tokenizer->prefix();
}

/// Megatron's index: magic, version 1, dtype 8 (uint16), two sequences of 60 and 40 tokens, three
/// document boundaries; lengths, pointers, boundaries.
std::string megatron_index() {
  std::string bytes("MMIDIDX\0\0", 9);
  const auto put = [&](auto value) {
    bytes.append(reinterpret_cast<const char*>(&value), sizeof value);
  };
  put(uint64_t{1});
  put(uint8_t{8});
  put(uint64_t{2});
  put(uint64_t{3});
  for (const int32_t length : {60, 40}) put(length);
  for (const int64_t pointer : {0, 120}) put(pointer);
  for (const int64_t document : {0, 1, 2}) put(document);
  return bytes;
}

/// All that an index promises is worked out.
void use_store_index(const std::string& dir) {
  const StoreIndex index = read_store_index(dir);
  for (const int64_t row : {int64_t{0}, index.rows() / 2, index.rows() - 1}) {
    const RowPlace place = index.place(row);
    index.rows_of(place.shard);
    index.shard_name(place.shard);
  }
  index.shard(index.shard_count() - 1);
  index.fingerprint();
  to_json(index).dump();
  mend_command(index, dir);
}

/// Every row of a shard is read. `reseals`: with the checksum that the damaged file would have, so
/// that what lies behind the checksum is fuzzed too.
void read_shard(const StoreIndex& index, const std::string& dir, const ShardId& shard,
                bool reseals) {
  const std::string path = dir + "/" + index.shard_name(shard);
  std::string bytes = content(path);
  if (reseals && bytes.size() >= 32) {
    const size_t covered = bytes.size() - 24;
    const ChecksumBytes seal = checksum(std::string_view(bytes).substr(0, covered));
    std::copy(seal.begin(), seal.end(), bytes.begin() + static_cast<int64_t>(covered));
    std::ofstream(path, std::ios::binary) << bytes;
  }
  const ShardReader reader(index, dir, shard);
  std::vector<unsigned char> row(static_cast<size_t>(index.row_bytes()));
  for (int64_t i = 0; i < index.rows_of(shard); ++i) {
    reader.token_hash(i);
    reader.read(i, row.data());
  }
}

}  // namespace

std::vector<FuzzTarget> fuzz_targets(const std::string& source, const std::string& work) {
  const std::string golden = source + "/tests/model/golden/";
  std::vector<FuzzTarget> targets;
  targets.push_back(
      {"safetensors",
       {content(golden + "llama/model.safetensors"), content(golden + "gpt2/expected.safetensors")},
       "x.safetensors",
       [path = work + "/x.safetensors"] { read_all(path); }});
  targets.push_back(
      folder_target("weights", {golden + "llama", golden + "qwen3"}, "model.safetensors", work));
  targets.push_back(folder_target(
      "llama_config",
      {golden + "llama", golden + "llama3", golden + "mistral", golden + "qwen2", golden + "qwen3"},
      "config.json", work));
  targets.push_back(folder_target("gpt2_config", {golden + "gpt2"}, "config.json", work));

  // An index over two files.
  {
    const std::string dir = work + "/sharded";
    save_model(load_model(golden + "llama"), dir, std::nullopt, {}, /*max_shard_bytes=*/40000);
    const std::string index = "/model.safetensors.index.json";
    targets.push_back(
        {"index", {content(dir + index)}, "sharded" + index, [dir] { load_model(dir); }});
  }
  targets.push_back(
      {"npy", {npy("<u2", 2), npy("<i8", 8), npy("|u1", 1)}, "x.npy", [path = work + "/x.npy"] {
         read_tokens(path);
       }});
  targets.push_back({"llmc", {llmc()}, "x.bin", [path = work + "/x.bin"] { read_tokens(path); }});
  targets.push_back({"tokenizer",
                     {content(source + "/tests/data/golden/gpt2/tokenizer.json"),
                      content(source + "/tests/data/golden/llama3/tokenizer.json"),
                      content(source + "/tests/data/golden/qwen2/tokenizer.json")},
                     "tokenizer.json",
                     [path = work + "/tokenizer.json"] { use_tokenizer(path); }});
  targets.push_back({"megatron", {megatron_index()}, "m.idx", [work] {
                       std::ofstream(work + "/m.bin", std::ios::binary) << std::string(200, '\1');
                       read_tokens(work + "/m.idx");
                     }});
  const StoreIndex store = example_index(example_spec(Payload::kTopk, at::kBFloat16));
  const ShardId shard{1, 0};
  for (const char* name : {"store_index", "shard", "shard_sealed"}) {
    const std::string dir = work + "/" + name;
    fs::create_directories(dir);
    write_example(store, dir);
    const bool is_index = name == std::string("store_index");
    const std::string file = is_index ? kStoreIndexFile : store.shard_name(shard);
    const bool reseals = name == std::string("shard_sealed");
    targets.push_back({name, {content(dir + "/" + file)}, std::string(name) + "/" + file, [=] {
                         is_index ? use_store_index(dir) : read_shard(store, dir, shard, reseals);
                       }});
  }
  return targets;
}

}  // namespace temper
