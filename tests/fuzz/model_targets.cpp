// Readers of model/: safetensors, and the files of a Hugging Face folder.
#include <ATen/ATen.h>

#include <filesystem>

#include "model/generation_config.h"
#include "model/hugging_face.h"
#include "model/safetensors.h"
#include "tests/fuzz/targets.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

std::string golden(const std::string& name) { return source_file("tests/model/golden/" + name); }

/// Every byte of every tensor is read.
void read_tensors(const std::string& path) {
  const SafetensorsFile file(path);
  uint64_t sum = 0;
  for (const std::string& name : file.names()) {
    const at::Tensor tensor = file.tensor(name).contiguous();  // (shape as in the file)
    const auto* bytes = static_cast<const unsigned char*>(tensor.const_data_ptr());
    for (size_t i = 0; i < tensor.nbytes(); ++i) sum += bytes[i];
  }
  volatile uint64_t sink = sum;
  (void)sink;
}

const std::vector<std::string> kHeaderWords = {
    "\"dtype\":\"F32\"",  "\"BF16\"", "\"F8_E4M3\"", "\"C64\"",
    "\"BOOL\"",           "\"U64\"",  "\"shape\":[", "\"data_offsets\":[",
    "\"__metadata__\":{", "[0,0]"};

FuzzReader safetensors_reader(const std::string& work) {
  const std::string path = work + "/x.safetensors";
  write_safetensors(path, {{"a", at::arange(6).view({2, 3})},
                           {"b", at::zeros({4}, at::kBFloat16)},
                           {"none", at::zeros({0, 2})}});
  return {{file_content(path), file_content(golden("llama/model.safetensors"))},
          [path](const std::string& bytes) {
            write_file(path, bytes);
            read_tensors(path);
          },
          kHeaderWords};
}

// The length in front of the header would keep most mutants of it from being parsed: here the
// input is a header, and length and 64 bytes of data are put around it.
FuzzReader header_reader(const std::string& work) {
  return {{R"({"a":{"dtype":"F32","shape":[2,8],"data_offsets":[0,64]}})",
           R"({"__metadata__":{"format":"pt"},"a":{"dtype":"I64","shape":[],"data_offsets":[0,8]},)"
           R"("b":{"dtype":"U8","shape":[7,8],"data_offsets":[8,64]}}  )"},
          [path = work + "/x.safetensors"](const std::string& header) {
            const uint64_t length = header.size();
            write_file(path, std::string(reinterpret_cast<const char*>(&length), sizeof length) +
                                 header + std::string(64, '\1'));
            read_tensors(path);
          },
          kHeaderWords};
}

/// A folder, of which one file is mutated and the whole opened.
FuzzReader folder_reader(const std::string& dir, const std::string& file,
                         std::vector<std::string> relatives = {}) {
  const std::string seed = file_content(dir + "/" + file);
  std::vector<std::string> texts = relatives;
  texts.push_back(seed);
  return {{seed},
          [=](const std::string& bytes) {
            write_file(dir + "/" + file, bytes);
            LoadOptions as_it_is;
            as_it_is.dtype = std::nullopt;
            load_model(dir, as_it_is);
          },
          file.ends_with(".json") ? quoted_words(texts) : kHeaderWords,
          std::move(relatives)};
}

/// The golden folder `name`, copied; the files of `others` are relatives.
std::function<FuzzReader(const std::string&)> golden_folder(
    const std::string& file, const std::string& name, const std::vector<std::string>& others = {}) {
  return [=](const std::string& work) {
    fs::copy(golden(name), work, fs::copy_options::recursive);
    std::vector<std::string> relatives;
    for (const std::string& other : others)
      relatives.push_back(file_content(golden(other + "/" + file)));
    return folder_reader(work, file, std::move(relatives));
  };
}

/// The index of a model in two files.
FuzzReader weights_index_reader(const std::string& work) {
  save_model(load_model(golden("llama")), work, std::nullopt, {}, /*max_shard_bytes=*/40000);
  return folder_reader(work, "model.safetensors.index.json");
}

FuzzReader generation_config_reader(const std::string& work) {
  fs::copy(golden("llama/config.json"), work);
  const std::vector<std::string> seeds = {
      file_content(golden("llama/generation_config.json")),
      R"({"do_sample":true,"temperature":0.7,"top_k":40,"top_p":0.9,"min_p":0.05,)"
      R"("repetition_penalty":1.1,"eos_token_id":[1,2],"bos_token_id":0,"stop_strings":["\n","x"]})",
      R"({"num_beams":4,"length_penalty":0.8,"early_stopping":"never","num_return_sequences":2,)"
      R"("no_repeat_ngram_size":3,"max_new_tokens":9,"min_new_tokens":2,"max_length":20,)"
      R"("min_length":1,"typical_p":1.0,"guidance_scale":1})"};
  return {seeds,
          [work](const std::string& bytes) {
            write_file(work + "/generation_config.json", bytes);
            std::string name;
            const DecodingSettings file = read_generation_config(work, &name);
            const Decoding decoding = resolve_decoding({}, file, name);
            decoding.new_tokens(7);
            decoding.describe();
            decoding.json();
          },
          quoted_words(seeds)};
}

}  // namespace

std::vector<FuzzTarget> model_targets() {
  return {
      {"safetensors", safetensors_reader},
      {"safetensors_header", header_reader},
      {"weights", golden_folder("model.safetensors", "llama", {"qwen3"})},
      {"weights_index", weights_index_reader},
      {"config", golden_folder("config.json", "llama", {"llama3", "mistral", "qwen2", "qwen3"})},
      {"gpt2_config", golden_folder("config.json", "gpt2")},
      {"generation_config", generation_config_reader},
  };
}

}  // namespace temper
