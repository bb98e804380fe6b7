// Time and extra memory of output head and loss, forward and backward, and of its matrix products
// alone; against_pytorch.sh runs it beside its peers.
//
//   head_loss_bench [--tokens N] [--width C] [--vocab V] [--dtype bf16|fp32] [--teacher
//   full|hidden|topk|sample|none]
//                   [--temperature T] [--repeat R] [--threads N] [--json]
//
// Both models have the same width. The teacher's logits are given with `full`, its hidden states
// and head with `hidden`.
#include <ATen/ATen.h>
#include <ATen/Parallel.h>

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

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

/// Peak resident memory since reset_peak(); Linux alone can reset it.
double peak_mib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind("VmHWM:", 0) == 0) return std::stod(line.substr(6)) / 1024;
  return 0;
}

void reset_peak() { std::ofstream("/proc/self/clear_refs") << 5; }

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
                         at::ScalarType dtype) {
  SoftTargets soft;
  if (kind == "full") return SoftTargets::of_logits(at::randn({tokens, vocab}).mul_(2).to(dtype));
  if (kind == "hidden") {
    soft.kind = Payload::kHidden;
    soft.values = at::randn({tokens, width}).to(dtype);          // (N, C)
    soft.head = at::randn({vocab, width}).mul_(0.05).to(dtype);  // (V, C)
  } else if (kind == "topk") {
    soft.kind = Payload::kTopk;
    soft.ids = std::get<1>(at::rand({tokens, vocab}).topk(64, 1));  // (N, 64)
    soft.values = at::log_softmax(at::randn({tokens, 64}), 1) - 0.1;
    soft.scalars = at::full({tokens}, std::log1p(-std::exp(-0.1)));  // (N)
  } else if (kind == "sample") {
    soft.kind = Payload::kSample;
    soft.ids = at::randint(vocab, {tokens, 12}, at::kLong);  // (N, 12)
    soft.scalars = at::ones({tokens});                       // (N)
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
  const at::Tensor hidden = at::randn({tokens, width}).to(dtype);          // (N, C)
  const at::Tensor head = at::randn({vocab, width}).mul_(0.05).to(dtype);  // (V, C)
  const at::Tensor head_gradient = at::ones({vocab, width}).mul_(0);       // (V, C)
  const at::Tensor labels = at::randint(vocab, {tokens}, at::kLong);       // (N)
  const SoftTargets teacher =
      make_teacher(text(options, "--teacher", "full"), tokens, width, vocab, dtype);
  LossConfig config;
  config.temperature = std::stod(text(options, "--temperature", "2"));

  HeadLossWorkspace workspace;
  HeadLossOptions how;
  how.workspace = &workspace;
  const at::Tensor place = at::ones_like(hidden);  // what hidden_gradient will take
  reset_peak();
  const double before = peak_mib();
  std::vector<double> seconds, products, losses;
  at::Tensor hidden_gradient;
  for (int64_t i = -1; i < repeat; ++i) {
    const double start = now();
    head_loss(hidden, head, head_gradient, labels, teacher, config, hidden_gradient, how);
    if (i >= 0) seconds.push_back(now() - start);
  }
  const double extra = peak_mib() - before;

  // The products alone, in the chunks that head_loss chose.
  const int64_t chunk = workspace.logits.size(0);
  for (int64_t i = -1; i < repeat; ++i) {
    const double start = now();
    for (int64_t begin = 0; begin < tokens; begin += chunk) {
      const at::Tensor h = hidden.narrow(0, begin, std::min(chunk, tokens - begin));
      at::Tensor logits = workspace.logits.narrow(0, 0, h.size(0));
      at::mm_out(logits, h, head.t());
      if (teacher.defined() && teacher.kind == Payload::kHidden)
        at::mm_out(logits, teacher.values.narrow(0, begin, h.size(0)), teacher.head.t());
      at::mm(logits, head);
      at::mm(logits.t(), h);
    }
    if (i >= 0) products.push_back(now() - start);
  }
  // The loss alone: one chunk.
  at::Tensor logits = workspace.logits.narrow(0, 0, std::min(chunk, tokens));
  const SoftTargets soft = make_teacher(
      text(options, "--teacher", "full") == "hidden" ? "full" : text(options, "--teacher", "full"),
      logits.size(0), width, vocab, dtype);
  for (int64_t i = -1; i < repeat; ++i) {
    logits.normal_();
    const double start = now();
    distillation_loss_(logits, soft, labels.narrow(0, 0, logits.size(0)), config);
    if (i >= 0)
      losses.push_back((now() - start) * static_cast<double>(tokens) /
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
