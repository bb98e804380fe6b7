// How much memory opening a folder takes, as the system counts it.
#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "model/hugging_face.h"
#include "model/hugging_face_names.h"
#include "model/safetensors.h"

namespace temper {
namespace {

// Kilobytes in a line of /proc/self/status.
int64_t memory_kib(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind(field + ":", 0) == 0) return std::stoll(line.substr(field.size() + 1));
  }
  return 0;
}

// The peak starts anew from what is resident now.
bool reset_peak() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << "5\n"); }

TEST(LoadMemoryTest, PeakIsTheModelItself) {
  if (!reset_peak()) GTEST_SKIP() << "this system does not let a process reset its peak";
  TransformerConfig shape;
  shape.family = Family::kGpt2;  // its matrices are turned on the way, and its embedding is large
  shape.vocab = 50257;
  shape.positions = 256;
  shape.layers = 4;
  shape.width = 768;
  shape.heads = shape.kv_heads = 12;
  shape.head_width = 64;
  shape.ffn_width = 3072;
  shape.tied_head = true;
  const std::string dir = testing::TempDir() + "temper-memory-" + std::to_string(getpid());
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16}) {
    {
      const Transformer model(shape, type);
      save_model(Transformer(shape), dir);
      std::vector<std::pair<std::string, at::Tensor>> tensors;
      for (const HuggingFaceTensor& tensor : hugging_face_tensors(model))
        tensors.emplace_back(tensor.name, tensor.view());
      write_safetensors(dir + "/model.safetensors", tensors);
    }
    const double folder =
        static_cast<double>(std::filesystem::file_size(dir + "/model.safetensors"));
    reset_peak();
    const int64_t before = memory_kib("VmRSS");

    LoadOptions as_it_is;
    as_it_is.dtype = std::nullopt;
    const Transformer model = load_model(dir, as_it_is);
    const double taken = static_cast<double>(memory_kib("VmHWM") - before) * 1024;
    EXPECT_LE(taken, 1.1 * folder) << c10::toString(type);
    EXPECT_GE(taken, 0.9 * folder) << c10::toString(type);  // or nothing was measured
    std::printf("%s: peak %.3f of the folder's %.0f MB\n", c10::toString(type), taken / folder,
                folder / 1e6);
    std::filesystem::remove_all(dir);
  }
}

}  // namespace
}  // namespace temper
