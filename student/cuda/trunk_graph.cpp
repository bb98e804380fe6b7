#include "student/trunk_graph.h"

#include <ATen/ATen.h>
#include <ATen/OpMathType.h>
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <vector>

namespace temper {
namespace {

// Libraries choose their kernels and take their workspaces in the first passes.
constexpr int kPassesBefore = 3;

class CudaTrunkGraph : public TrunkGraph {
 public:
  CudaTrunkGraph(Transformer& model, at::ScalarType compute, at::IntArrayRef sizes)
      : tokens_(
            at::zeros(sizes, at::TensorOptions(at::kLong).device(model.flat_weights().device()))) {
    const c10::cuda::CUDAGuard guard(tokens_.device());
    if (model.rotary())  // the graph reads it, also when the model has made a longer one
      angles_ = model.rotary()->angles(sizes[1], at::toOpMathType(compute), tokens_.device());
    const auto before = c10::cuda::getCurrentCUDAStream(tokens_.device().index());
    const auto stream =
        c10::cuda::getStreamFromPool(/*isHighPriority=*/false, tokens_.device().index());
    before.synchronize();
    {
      // The nodes of the backward pass belong to the stream that they were made on.
      const c10::cuda::CUDAStreamGuard on(stream);
      const auto pass = [&] {
        const at::AutoGradMode grad(true);
        return model.hidden(tokens_, compute).flatten(0, 1);  // (N, C)
      };
      for (int i = 0; i < kPassesBefore; ++i) {
        const at::Tensor hidden = pass();
        hidden.backward(at::zeros_like(hidden));  // adds zeros
      }
      stream.synchronize();
      forward_.capture_begin();
      hidden_ = pass();
      forward_.capture_end();
      gradient_ = at::zeros_like(hidden_);
      backward_.capture_begin(forward_.pool());
      hidden_.backward(gradient_);
      backward_.capture_end();
      hidden_ = hidden_.detach();
      stream.synchronize();
    }
  }

  at::Tensor forward(const at::Tensor& tokens) override {
    tokens_.copy_(tokens);
    forward_.replay();
    return hidden_;
  }

  void backward(const at::Tensor& hidden_gradient) override {
    gradient_.copy_(hidden_gradient);
    backward_.replay();
  }

  bool fits(at::IntArrayRef sizes) const override { return tokens_.sizes() == sizes; }

 private:
  at::Tensor tokens_;  // (B, S)
  RotaryTable::Angles angles_;
  at::cuda::CUDAGraph forward_, backward_;
  at::Tensor hidden_, gradient_;  // (N, C), in the graphs' memory and outside of it
};

}  // namespace

std::unique_ptr<TrunkGraph> record_trunk(Transformer& model, at::ScalarType compute,
                                         at::IntArrayRef sizes) {
  return std::make_unique<CudaTrunkGraph>(model, compute, sizes);
}

}  // namespace temper
