// temper's own kernels beside what LibTorch would do in their place, one thread unless
// OMP_NUM_THREADS says more.
//
//   OMP_NUM_THREADS=2 build/release/tests/bench/kernels_bench --benchmark_filter=Attention
//   ATEN_CPU_CAPABILITY=avx2 ... the kernels that such a processor would use
#include <ATen/ATen.h>
#include <benchmark/benchmark.h>

#include "comm/ordered_sum.h"
#include "model/causal_attention.h"
#include "model/weight_gradient.h"
#include "student/loss.h"

namespace temper {
namespace {

using benchmark::State;

/// Elements per second of the benchmark's tensor.
void count(State& state, int64_t elements) {
  state.SetItemsProcessed(state.iterations() * elements);
}

// Loss and gradient of 256 tokens x 50,257 ids, bf16.
constexpr int64_t kTokens = 256, kVocab = 50257;

void loss(State& state, const std::string& kind, double temperature) {
  const at::Tensor drawn = at::randn({kTokens, kVocab}).to(at::kBFloat16);
  const SoftTargets teacher =
      SoftTargets::of_logits(at::randn({kTokens, kVocab}).to(at::kBFloat16));
  const at::Tensor labels = at::randint(kVocab, {kTokens}, at::kLong);
  LossConfig config{0.9, temperature};
  config.kind = kind;
  at::Tensor logits = drawn.clone();  // overwritten; its values do not matter to the time
  for (auto _ : state)
    benchmark::DoNotOptimize(distillation_loss_(logits, teacher, labels, config));
  count(state, kTokens * kVocab);
}
BENCHMARK_CAPTURE(loss, forward_kl_T2, "forward-kl", 2.0)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(loss, forward_kl_T1_7, "forward-kl", 1.7)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(loss, reverse_kl_T2, "reverse-kl", 2.0)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(loss, jsd_T2, "jsd", 2.0)->Unit(benchmark::kMillisecond);

void loss_by_tensors(State& state) {
  const at::Tensor logits = at::randn({kTokens, kVocab}).to(at::kBFloat16);
  const at::Tensor teacher = at::randn({kTokens, kVocab}).to(at::kBFloat16);
  for (auto _ : state) {
    const at::Tensor z = logits.to(at::kFloat).requires_grad_();
    const at::AutoGradMode grad(true);
    const at::Tensor q = at::softmax(teacher.to(at::kFloat) / 2.0, 1);
    const at::Tensor value = at::kl_div(at::log_softmax(z / 2.0, 1), q, at::Reduction::Sum);
    value.backward();
    benchmark::DoNotOptimize(z.grad());
  }
  count(state, kTokens * kVocab);
}
BENCHMARK(loss_by_tensors)->Unit(benchmark::kMillisecond);

// Attention, forward and backward: sequences x heads x positions x 64, bf16.
template <typename Attend>
void attention(State& state, const Attend& attend, bool backward) {
  const at::Tensor qkv =
      at::randn({state.range(0), state.range(2), 3, state.range(1), 64}).to(at::kBFloat16);
  const at::Tensor gradient =
      at::randn({state.range(0), state.range(1), state.range(2), 64}).to(at::kBFloat16);
  for (auto _ : state) {
    const at::AutoGradMode grad(backward);
    const at::Tensor leaf = qkv.detach().requires_grad_(backward);
    const std::vector<at::Tensor> parts = leaf.unbind(2);
    const at::Tensor out =
        attend(parts[0].transpose(1, 2), parts[1].transpose(1, 2), parts[2].transpose(1, 2));
    if (backward) out.backward(gradient);
    benchmark::DoNotOptimize(out);
  }
}
at::Tensor libtorchs(const at::Tensor& query, const at::Tensor& key, const at::Tensor& value) {
  return at::scaled_dot_product_attention(query, key, value, std::nullopt, 0.0, /*is_causal=*/true);
}
void attention_forward(State& state) { attention(state, causal_attention, false); }
void attention_forward_libtorch(State& state) { attention(state, libtorchs, false); }
void attention_backward(State& state) { attention(state, causal_attention, true); }
void attention_backward_libtorch(State& state) { attention(state, libtorchs, true); }
BENCHMARK(attention_forward)->Args({4, 8, 256})->Args({1, 8, 1024})->Unit(benchmark::kMicrosecond);
BENCHMARK(attention_forward_libtorch)
    ->Args({4, 8, 256})
    ->Args({1, 8, 1024})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(attention_backward)->Args({4, 4, 256})->Args({1, 4, 1024})->Unit(benchmark::kMicrosecond);
BENCHMARK(attention_backward_libtorch)
    ->Args({4, 4, 256})
    ->Args({1, 4, 1024})
    ->Unit(benchmark::kMicrosecond);

// gradient (V, C) += outputᵀ input, tokens x out x in, bf16 into float32.
template <typename Add>
void weight_gradient(State& state, const Add& add) {
  const at::Tensor output = at::randn({state.range(0), state.range(1)}).to(at::kBFloat16);
  const at::Tensor input = at::randn({state.range(0), state.range(2)}).to(at::kBFloat16);
  const at::Tensor gradient = at::zeros({state.range(1), state.range(2)});
  for (auto _ : state) add(output, input, gradient);
  state.counters["flop/s"] = benchmark::Counter(
      2.0 * static_cast<double>(state.range(0) * state.range(1) * state.range(2)),
      benchmark::Counter::kIsIterationInvariantRate);
}
void weight_gradient_own(State& state) {
  at::Tensor buffer;
  weight_gradient(
      state, [&](const at::Tensor& output, const at::Tensor& input, const at::Tensor& gradient) {
        add_weight_gradient(output, input, gradient, buffer);
      });
}
void weight_gradient_libtorch(State& state) {
  weight_gradient(
      state, [](const at::Tensor& output, const at::Tensor& input, const at::Tensor& gradient) {
        gradient.add_(at::mm(output.t(), input));
      });
}
BENCHMARK(weight_gradient_own)
    ->Args({256, 50257, 256})
    ->Args({1024, 1408, 256})
    ->Unit(benchmark::kMicrosecond);
BENCHMARK(weight_gradient_libtorch)
    ->Args({256, 50257, 256})
    ->Args({1024, 1408, 256})
    ->Unit(benchmark::kMicrosecond);

// Sums over ranks of 1 Mi float32, in rank order.
void sum_over_ranks(State& state) {
  constexpr int64_t kCount = 1 << 20;
  const at::Tensor all = at::randn({state.range(0), kCount});
  const at::Tensor out = at::empty({kCount});
  const std::vector<void*> to = {out.data_ptr()};
  std::vector<const void*> parts;
  for (int64_t rank = 0; rank < state.range(0); ++rank) parts.push_back(all[rank].const_data_ptr());
  for (auto _ : state) {
    ordered_sum(parts, to, kCount, at::kFloat);
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(state.iterations() * kCount * 4 * state.range(0));
}
BENCHMARK(sum_over_ranks)->Arg(2)->Arg(8)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace temper

BENCHMARK_MAIN();
