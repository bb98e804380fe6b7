// A checkpoint of a model is a Hugging Face folder: config.json, model.safetensors,
// generation_config.json, and the files of its tokenizer.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "data/tokenizer_files.h"
#include "model/kept_memory.h"
#include "model/transformer.h"

namespace temper {

/// Throws c10::ValueError naming `option`, the path and the remedy where `path` is neither a folder
/// with a config.json nor a file.
void check_model_folder(const std::string& path, const std::string& option);

/// Reads and checks the config.json that `path` names, itself or by its folder; of a folder also
/// what ends a text in its generation_config.json. Throws c10::ValueError naming the file, the
/// field, the value and the remedy.
TransformerConfig read_model_config(const std::string& path);

/// How much of a folder to take, and how to keep it.
struct LoadOptions {
  at::Device device = at::kCPU;
  /// Of the weights in memory: float32 or float64 to train; nothing: as in the file, which takes
  /// the least memory.
  std::optional<at::ScalarType> dtype = at::kFloat;
  /// Rows of embedding and head to keep, the first ones; 0: all.
  int64_t vocab = 0;
  /// Layers to keep, as numbers in the folder, in the order in which the model shall have them;
  /// empty: all.
  std::vector<int64_t> layers;
};

/// Opens a folder: gpt2, llama, mistral, qwen2 or qwen3; weights in fp32, fp16 or bf16, one or many
/// safetensors files (index file). Each tensor is read once, and the file's memory is given back on
/// the way, so that the peak is that of the model alone. Missing, surplus and wrongly shaped
/// tensors are refused by name. Throws c10::ValueError.
Transformer load_model(const std::string& dir, const LoadOptions& options = {});

/// Files are cut into several with an index above this many bytes, as `transformers` does.
inline constexpr int64_t kMaxShardBytes = 5'000'000'000;

/// Writes config.json and model.safetensors (fp32; each file through a temporary name and a rename)
/// so that `transformers` opens the folder, and generation_config.json with the model's special ids
/// and `temperature` (then do_sample true). `tokenizer` goes in as it is. Throws c10::Error naming
/// path and reason where it cannot write.
void save_model(const Transformer& model, const std::string& dir,
                std::optional<double> temperature = std::nullopt,
                const std::vector<TokenizerFile>& tokenizer = {},
                int64_t max_shard_bytes = kMaxShardBytes);

/// One of several writers' part of a folder, copied: the model may change while it is written.
struct FolderPart {
  std::string weights_file;                                 ///< empty: no tensor falls to this part
  std::vector<std::pair<std::string, at::Tensor>> weights;  ///< fp32, on the CPU
  std::vector<TokenizerFile> texts;                         ///< part 0: all that is no weight
};

/// Part `part` of `parts` of what save_model() writes, without a decoding temperature: whole
/// tensors, about as many bytes in each part. All parts together are a folder that load_model() and
/// `transformers` open. The weights are copied into `memory`.
FolderPart copy_folder_part(const Transformer& model, int part, int parts,
                            const std::vector<TokenizerFile>& tokenizer, KeptMemory& memory);

/// Sets the decoding temperature (do_sample true) in DIR/generation_config.json and leaves all else
/// there as it is. Throws c10::Error naming path and reason.
void write_generation_config(const std::string& dir, double temperature);

}  // namespace temper
