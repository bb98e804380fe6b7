// Activation checkpointing (Chen et al. 2016, arXiv 1604.06174): of a layer, only what goes in is
// kept; the backward pass runs its forward pass again.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <utility>

namespace temper {

/// The residual stream and the contribution that is not yet added to it, (N, C) each.
using LayerState = std::pair<at::Tensor, at::Tensor>;
using LayerFunction = std::function<LayerState(const at::Tensor& x, const at::Tensor& delta)>;

/// layer(x, delta), whose graph is made in the backward pass. The layer must give the same bits
/// each time, and what it refers to must live until then. x requires gradients; delta may be
/// undefined.
LayerState checkpointed(const LayerFunction& layer, const at::Tensor& x, const at::Tensor& delta);

}  // namespace temper
