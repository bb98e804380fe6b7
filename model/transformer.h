// The decoder-only transformer of both roles: token ids in, final hidden states out. The head's
// product is left to the caller (the loss makes logits chunk by chunk, so that no (N, V) matrix
// need exist). All weights lie in one flat fp32 buffer, and all gradients in another: one
// broadcast, one all-reduce and one fused optimizer call serve the whole model.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "model/parameter_plan.h"
#include "model/rotary.h"
#include "model/trained_layers.h"
#include "model/transformer_config.h"

namespace temper {

/// A weight by its canonical name: that of Hugging Face's `LlamaForCausalLM` or `GPT2LMHeadModel`,
/// but that queries, keys and values are one matrix (qkv_proj), gate and up are one (gate_up_proj),
/// and GPT-2's matrices are (out, in).
struct Parameter {
  std::string name;
  at::Tensor value;     // a leaf; a view into the flat buffer
  int64_t offset = 0;   // of its first element in the flat buffer
  bool decays = false;  // weight decay applies (matrices: yes; norms and biases: no)
};

/// What a training step wants to know of a forward pass and of its backward pass. Any may be empty.
struct ForwardHooks {
  /// Called after each layer, forward and (with a graph) backward: on a CPU this is where whoever
  /// computes can let messages progress.
  std::function<void()> between = {};
  /// Called before flat_weights()[0, end) are read; end grows.
  std::function<void(int64_t end)> needs = {};
  /// Called in the backward pass when flat_gradients()[begin, P) have all that it gives them, but
  /// for the head, which is the caller's; begin falls. What is in front of the first layer is final
  /// when backward() returns.
  std::function<void(int64_t begin)> final_from = {};
};

class Transformer {
 public:
  /// Weights are zero until init_weights() or a loader fills them. dtype of the buffers: float32 or
  /// float64; bfloat16 or float16 for a frozen model, which is never trained.
  explicit Transformer(const TransformerConfig& config, at::ScalarType dtype = at::kFloat,
                       at::Device device = at::kCPU);
  Transformer(Transformer&&) noexcept = default;
  Transformer& operator=(Transformer&&) noexcept = default;

  const TransformerConfig& config() const { return config_; }

  /// Random initialisation as in GPT-2 (normal, 0.02; projections back into the residual stream
  /// 0.02/√(2L); norms 1, biases 0). The same (seed, shape) gives the same weights on every rank
  /// and device.
  void init_weights(uint64_t seed);

  /// The forward pass without the head. tokens (B, S) int64 on the model's device, S ≤ positions
  /// -> hidden states after the final norm (B, S, C) in `compute` (float32, float64 or bfloat16;
  /// matrix products and attention run in it, weights are cast once a call or by Cast, norms and
  /// RoPE are computed in at least float32). Records a graph when grad mode is on and the weights
  /// require gradients. The same inputs give the same bits. Throws c10::ValueError where S exceeds
  /// the positions or tokens have another shape or dtype.
  at::Tensor hidden(const at::Tensor& tokens, at::ScalarType compute,
                    const ForwardHooks& hooks = {}) const;

  /// The head's weight, (V, C): the embedding itself where it is tied.
  const at::Tensor& head() const;
  /// The same in `compute`; a copy unless the weights are of that type or cast to it.
  at::Tensor head(at::ScalarType compute) const;

  /// Weights in a narrower dtype, cast once: while the object lives, hidden() and head() take them
  /// from there. For a training step, in which the weights do not change; through() before they are
  /// used, as ForwardHooks::needs says.
  class Cast {
   public:
    /// Casts nothing yet.
    Cast(Transformer& model, at::ScalarType compute);
    ~Cast();
    /// Casts flat_weights()[0, end), as far as that has not been done.
    void through(int64_t end);
    Cast(const Cast&) = delete;
    Cast& operator=(const Cast&) = delete;

   private:
    Transformer& model_;
    int64_t done_ = 0;
  };

  /// The same model with its weights in `dtype`, for inference.
  Transformer as(at::ScalarType dtype) const;

  /// Where each layer finds its weights among parameters().
  const ParameterPlan& plan() const { return plan_; }
  /// The angles of RoPE; null for GPT-2.
  const std::shared_ptr<RotaryTable>& rotary() const { return rotary_; }

  const std::vector<Parameter>& parameters() const { return parameters_; }
  /// Every parameter begins at a multiple of 64 bytes; the gaps are zero and stay so.
  const at::Tensor& flat_weights() const { return flat_weights_; }  // (P)
  const at::Tensor& flat_gradients() const {
    return flat_gradients_;
  }  // (P), undefined before require_gradients()

  /// Keeps of each layer only its input for the backward pass, which computes it again: the same
  /// bits, for about a third more time.
  void checkpoint_activations(bool on) { checkpoints_ = on; }

  /// Moves the weights into `flat` (P), which is like flat_weights(): memory that other ranks see.
  void move_weights(at::Tensor flat);

  /// Allocates the flat gradients (zero) and makes every parameter's .grad a view of them; backward
  /// adds in place. Throws c10::Error where the weights are narrower than float32.
  void require_gradients();
  /// The same in memory of the caller's: zeros (P), contiguous, of the weights' dtype and device.
  /// It must outlive whatever uses the gradients. Throws c10::Error where it does not fit.
  void require_gradients(at::Tensor flat);

  /// The gradient of the head's weight, (V, C), a view of the flat buffer (the embedding's where it
  /// is tied).
  at::Tensor head_gradient() const;

 private:
  at::Tensor block(const LayerPlan& layer, const at::Tensor& x, const at::Tensor& normed,
                   const HeadShape& shape, const RotaryTable::Angles& angles,
                   at::Tensor* sum) const;
  const at::Tensor& weight(int index) const {
    return parameters_[static_cast<size_t>(index)].value;
  }
  at::Tensor weight_as(int index, at::ScalarType dtype) const;
  at::Tensor linear(const at::Tensor& input, int matrix, int bias) const;
  /// Gradients are wanted and have a place.
  bool trains() const;

  TransformerConfig config_;
  ParameterPlan plan_;
  std::shared_ptr<RotaryTable> rotary_;  // none for GPT-2
  at::Tensor flat_weights_;
  at::Tensor flat_gradients_;
  at::Tensor flat_cast_;  // (P), of the last Cast
  bool checkpoints_ = false;
  bool cast_ = false;  // flat_cast_ is that of the weights
  std::unique_ptr<GradientSink> sink_ = std::make_unique<GradientSink>();
  std::vector<Parameter> parameters_;
};

}  // namespace temper
