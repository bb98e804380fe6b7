// Time and extra memory of output head and loss, forward and backward, and of its matrix products
// alone; against_pytorch.sh runs it beside its peers.
//
//   head_loss_bench [--tokens N] [--width C] [--vocab V] [--dtype bf16|fp32] [--teacher
//   full|hidden|topk|sample|none]
//                   [--temperature T] [--repeat R] [--threads N] [--device cpu|cuda]
//                   [--chunk N] [--json]
//
// On a GPU memory is what LibTorch's allocator hands out. Both models have the same width. The
// teacher's logits are given with `full`, its hidden states and head with `hidden`. As in training,
// a GPU's gradient by the logits takes the place of the teacher's logits, which are there anew each
// time the clock starts.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "student/head_loss.h"

namespace temper {
namespace {

/// Once all work of the device is done.
double now(at::Device device) {
  if (device.is_cuda()) c10::impl::VirtualGuardImpl(device.type()).synchronizeDevice(0);
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Peak memory since reset_peak(): resident, or of the GPU's allocator. Linux alone can reset the
/// former.
double peak_mib(at::Device device) {
  if (device.is_cuda()) {
    const auto stats = c10::getDeviceAllocator(device.type())->getDeviceStats(0);
    return static_cast<double>(stats.allocated_bytes[0].peak) / (1 << 20);
  }
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  return 0;
}

void reset_peak(at::Device device) {
  if (device.is_cuda()) {
    c10::getDeviceAllocator(device.type())->resetPeakStats(0);
  } else {
    std::ofstream("/proc/self/clear_refs") << 5;
  }
}

int64_t number(const std::map<std::string, std::string>& options, const char* name,
               int64_t otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : std::stoll(found->second);
}

std::string text(const std::map<std::string, std::string>& options, const char* name,
                 const char* otherwise) {
  const auto found = options.find(name);
  return found == options.end() ? otherwise : found->second;
}

SoftTargets make_teacher(const std::string& kind, int64_t tokens, int64_t width, int64_t vocab,
                         const at::TensorOptions& like) {
  SoftTargets soft;
  if (kind == "full") return SoftTargets::of_logits(at::randn({tokens, vocab}, like).mul_(2));
  if (kind == "hidden") {
    soft.kind = Payload::kHidden;
    soft.values = at::randn({tokens, width}, like);          // (N, C)
    soft.head = at::randn({vocab, width}, like).mul_(0.05);  // (V, C)
  } else if (kind == "topk") {
    soft.kind = Payload::kTopk;
    const at::TensorOptions wide = like.dtype(at::kFloat);
    soft.ids = std::get<1>(at::rand({tokens, vocab}, wide).topk(64, 1));  // (N, 64)
    soft.values = at::log_softmax(at::randn({tokens, 64}, wide), 1) - 0.1;
    soft.scalars = at::full({tokens}, std::log1p(-std::exp(-0.1)), wide);  // (N)
  } else if (kind == "sample") {
    soft.kind = Payload::kSample;
    soft.ids = at::randint(vocab, {tokens, 12}, like.dtype(at::kLong));  // (N, 12)
    soft.scalars = at::ones({tokens}, like.dtype(at::kFloat));           // (N)
  }
  return soft;
}

void run(const std::map<std::string, std::string>& options) {
  const int64_t tokens = number(options, "--tokens", 512), width = number(options, "--width", 768),
                vocab = number(options, "--vocab", 50304), repeat = number(options, "--repeat", 7);
  const at::ScalarType dtype =
      text(options, "--dtype", "bf16") == "fp32" ? at::kFloat : at::kBFloat16;
  at::set_num_threads(static_cast<int>(number(options, "--threads", 2)));
  at::manual_seed(1);
  const at::Device device(text(options, "--device", "cpu"));
  const at::TensorOptions like = at::TensorOptions(dtype).device(device);
  const at::Tensor hidden = at::randn({tokens, width}, like);          // (N, C)
  const at::Tensor head = at::randn({vocab, width}, like).mul_(0.05);  // (V, C)
  const at::Tensor head_gradient =
      at::ones({vocab, width}, like.dtype(at::kFloat)).mul_(0);                   // (V, C)
  const at::Tensor labels = at::randint(vocab, {tokens}, like.dtype(at::kLong));  // (N)
  const std::string kind = text(options, "--teacher", "full");
  const SoftTargets teacher = make_teacher(kind, tokens, width, vocab, like);
  LossConfig config;
  config.temperature = std::stod(text(options, "--temperature", "2"));

  HeadLossWorkspace workspace;
  HeadLossOptions how;
  how.workspace = &workspace;
  how.chunk_tokens = number(options, "--chunk", 0);
  how.overwrite_teacher = device.is_cuda() && kind == "full";
  const at::Tensor kept = how.overwrite_teacher ? teacher.values.clone() : at::Tensor();  // (N, V)
  at::Tensor hidden_gradient =
      at::ones_like(hidden);  // (N, C), its memory counts as the gradient's
  if (device.is_cuda()) at::mm(hidden, head.narrow(0, 0, 64).t());  // cuBLAS takes its workspace
  reset_peak(device);
  const double before = peak_mib(device);
  std::vector<double> seconds, products, losses;
  for (int64_t i = -1; i < repeat; ++i) {
    hidden_gradient = at::Tensor();  // its place is taken again
    if (how.overwrite_teacher) teacher.values.copy_(kept);
    const double start = now(device);
    head_loss(hidden, head, head_gradient, labels, teacher, config, hidden_gradient, how);
    if (i >= 0) seconds.push_back(now(device) - start);
  }
  const double extra = peak_mib(device) - before;

  // The products alone, in the chunks that head_loss chose, or of all tokens as it takes them.
  const int64_t chunk = workspace.logits.size(0);
  for (int64_t i = -1; i < repeat; ++i) {
    const double start = now(device);
    for (int64_t begin = 0; begin < tokens; begin += chunk) {
      const at::Tensor h = hidden.narrow(0, begin, std::min(chunk, tokens - begin));
      at::Tensor logits = workspace.logits.narrow(0, 0, h.size(0));
      at::mm_out(logits, h, head.t());
      if (teacher.defined() && teacher.kind == Payload::kHidden)
        at::mm_out(logits, teacher.values.narrow(0, begin, h.size(0)), teacher.head.t());
      if (how.overwrite_teacher) continue;
      at::mm(logits, head);
      at::mm(logits.t(), h);
    }
    if (how.overwrite_teacher) {
      at::mm(kept, head);
      at::mm(kept.t(), hidden);
    }
    if (i >= 0) products.push_back(now(device) - start);
  }
  // The loss alone: one chunk.
  at::Tensor logits = workspace.logits.narrow(0, 0, std::min(chunk, tokens));
  const SoftTargets soft =
      make_teacher(kind == "hidden" ? "full" : kind, logits.size(0), width, vocab, like);
  for (int64_t i = -1; i < repeat; ++i) {
    logits.normal_();
    const double start = now(device);
    distillation_loss_(logits, soft, labels.narrow(0, 0, logits.size(0)), config);
    if (i >= 0)
      losses.push_back((now(device) - start) * static_cast<double>(tokens) /
                       static_cast<double>(logits.size(0)));
  }
  std::printf(
      options.count("--json") != 0 ? "{\"seconds\": %.6f, \"products\": %.6f, \"loss\": %.6f, "
                                     "\"extra_mib\": %.1f, \"chunk\": %lld}\n"
                                   : "%.4f s, its matrix products alone %.4f s, the loss alone "
                                     "%.4f s; %.1f MiB beyond the gradients; chunks of %lld "
                                     "tokens\n",
      median(seconds), median(products), median(losses), extra, static_cast<long long>(chunk));
}

}  // namespace
}  // namespace temper

int main(int argc, char** argv) {
  std::map<std::string, std::string> options;
  for (int i = 1; i < argc; ++i) {
    const std::string name = argv[i];
    options[name] = name != "--json" && i + 1 < argc ? argv[++i] : "";
  }
  try {
    temper::run(options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "head_loss_bench: %s\n", error.what());
    return 1;
  }
  return 0;
}
