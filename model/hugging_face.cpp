// Opening a Hugging Face folder; writing one is in hugging_face_save.cpp.
#include "model/hugging_face.h"

#include <algorithm>
#include <filesystem>
#include <set>

#include "model/config_json.h"
#include "model/folder_weights.h"
#include "model/hugging_face_names.h"

namespace temper {
namespace {

namespace fs = std::filesystem;

// Of a mapped file, at a time: what is copied is given back before the next part is read.
constexpr int64_t kCopyBytes = 1 << 20;

// The first few of many names, for a message of one line.
std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > 3) text += " and " + std::to_string(names.size() - 3) + " more";
  return text;
}

// Copies a folder's weights into a model that may have fewer layers and fewer rows of vocabulary.
class Loader {
 public:
  Loader(const FolderWeights& weights, const TransformerConfig& folder, const Transformer& model,
         std::vector<int64_t> layers)
      : weights_(weights),
        folder_(folder),
        model_(model),
        layers_(std::move(layers)),
        // The first GPT-2 checkpoints were saved from the model without its head, and lack the
        // prefix.
        bare_(folder.gpt2() && weights.contains("wte.weight") &&
              !weights.contains("transformer.wte.weight")) {}

  void run() const {
    const std::vector<HuggingFaceTensor> wanted = hugging_face_tensors(model_);
    check_names(wanted);
    const at::NoGradGuard no_grad;
    for (const HuggingFaceTensor& tensor : wanted) copy(tensor);
    if (repeats_head()) check_repeated_head();
  }

 private:
  std::string name_in_file(const std::string& name) const {
    constexpr std::string_view kPrefix = "transformer.";
    const std::string theirs =
        with_layer(name, [&](int64_t layer) { return layers_[static_cast<size_t>(layer)]; });
    return bare_ && theirs.rfind(kPrefix, 0) == 0 ? theirs.substr(kPrefix.size()) : theirs;
  }

  bool repeats_head() const { return folder_.tied_head && weights_.contains("lm_head.weight"); }

  void check_names(const std::vector<HuggingFaceTensor>& wanted) const {
    std::set<std::string> expected;
    std::vector<std::string> missing, surplus;
    for (const HuggingFaceTensor& tensor : wanted) {
      const std::string name = name_in_file(tensor.name);
      expected.insert(name);
      if (!weights_.contains(name)) missing.push_back(name);
    }
    for (const std::string& name : weights_.names()) {
      if (expected.count(name) > 0 || is_known_buffer(folder_.family, name)) continue;
      if (repeats_head() && name == "lm_head.weight") continue;
      // A layer that is not kept has the same tensors as one that is.
      const std::string kept = with_layer(
          name, [&](int64_t layer) { return layer < folder_.layers ? layers_.front() : layer; });
      if (expected.count(kept) == 0) surplus.push_back(name);
    }
    TORCH_CHECK_VALUE(missing.empty(), weights_.where(), ": missing tensors: ", listed(missing),
                      "; config.json asks for them");
    TORCH_CHECK_VALUE(surplus.empty(), weights_.where(),
                      ": tensors that config.json has no use for: ", listed(surplus));
  }

  // The shape that a tensor has in the folder: embedding and head may have more rows there.
  std::vector<int64_t> shape_in_file(const HuggingFaceTensor& tensor) const {
    std::vector<int64_t> shape = tensor.view().sizes().vec();
    const bool has_rows_of_vocabulary =
        tensor.parameter == &model_.parameters().front() || tensor.name == "lm_head.weight";
    if (has_rows_of_vocabulary) shape[0] = folder_.vocab;
    return shape;
  }

  // Calls use(rows of the file, first row) part by part, and gives each part back.
  template <typename Use>
  void for_each_part(const std::string& name, const std::vector<int64_t>& shape, int64_t rows,
                     const Use& use) const {
    const at::Tensor found = weights_.tensor(name, shape);  // (shape as in the file)
    const int64_t row_bytes = std::max<int64_t>(1, static_cast<int64_t>(found.nbytes()) / shape[0]);
    const int64_t step = std::max<int64_t>(1, kCopyBytes / row_bytes);
    for (int64_t row = 0; row < rows; row += step) {
      const at::Tensor part = found.narrow(0, row, std::min(step, rows - row));  // (rows, ...)
      use(part, row);
      weights_.release(name, part);
    }
  }

  void copy(const HuggingFaceTensor& tensor) const {
    const at::Tensor place = tensor.view();  // (shape as in the file, but for trimmed rows)
    for_each_part(name_in_file(tensor.name), shape_in_file(tensor), place.size(0),
                  [&](const at::Tensor& part, int64_t row) {
                    place.narrow(0, row, part.size(0)).copy_(part);
                  });
  }

  void check_repeated_head() const {
    const at::Tensor head = model_.head().detach();  // (V, C)
    const std::vector<int64_t> shape = {folder_.vocab, head.size(1)};
    for_each_part("lm_head.weight", shape, head.size(0), [&](const at::Tensor& part, int64_t row) {
      TORCH_CHECK_VALUE(at::equal(part.to(head), head.narrow(0, row, part.size(0))),
                        weights_.where(),
                        ": lm_head.weight differs from the embedding, but config.json says that "
                        "the two are tied; set tie_word_embeddings to false");
    });
  }

  const FolderWeights& weights_;
  const TransformerConfig& folder_;
  const Transformer& model_;
  const std::vector<int64_t> layers_;
  const bool bare_;
};

}  // namespace

void check_model_folder(const std::string& path, const std::string& option) {
  constexpr const char* kRemedy =
      "name a downloaded Hugging Face folder (config.json and model.safetensors)";
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return;
  TORCH_CHECK_VALUE(fs::is_directory(path, ignored), "--", option, " ", path,
                    ": no such folder, and temper downloads nothing; ", kRemedy);
  TORCH_CHECK_VALUE(fs::exists(fs::path(path) / "config.json", ignored), "--", option, " ", path,
                    ": this folder holds no config.json; ", kRemedy);
}

TransformerConfig read_model_config(const std::string& path) {
  std::error_code ignored;
  if (fs::is_regular_file(path, ignored)) return read_config_json(path);
  TransformerConfig config = read_config_json((fs::path(path) / "config.json").string());
  const std::string generation = (fs::path(path) / "generation_config.json").string();
  if (fs::is_regular_file(generation, ignored)) read_generation_ends(generation, config);
  return config;
}

Transformer load_model(const std::string& dir, const LoadOptions& options) {
  const TransformerConfig folder = read_model_config(dir);
  std::vector<int64_t> layers = options.layers;
  for (int64_t layer = 0; options.layers.empty() && layer < folder.layers; ++layer)
    layers.push_back(layer);
  for (const int64_t layer : layers) {
    TORCH_CHECK_VALUE(layer >= 0 && layer < folder.layers, dir, ": there is no layer ", layer,
                      " to keep; the model has layers 0 to ", folder.layers - 1);
  }
  TORCH_CHECK_VALUE(options.vocab <= folder.vocab, dir, ": has ", folder.vocab,
                    " rows of vocabulary, fewer than the ", options.vocab, " that are wanted");
  const FolderWeights weights(dir);
  // Far too few: refused before memory is taken for them. Smaller differences are named tensor by
  // tensor.
  TORCH_CHECK_VALUE(folder.parameter_count() / 4 <= weights.elements(), weights.where(), ": holds ",
                    weights.elements(), " numbers, but config.json asks for ",
                    folder.parameter_count(), "; the two do not belong together");
  TransformerConfig shape = options.vocab > 0 ? folder.with_vocab(options.vocab) : folder;
  shape.layers = static_cast<int64_t>(layers.size());
  Transformer model(shape, options.dtype.value_or(weights.dtype(folder.family)), options.device);
  Loader(weights, folder, model, std::move(layers)).run();
  return model;
}

}  // namespace temper
