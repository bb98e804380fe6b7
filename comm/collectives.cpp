// What all backends of the seam have in common.
#include "comm/collectives.h"

#include <ATen/ATen.h>

namespace temper {

at::Tensor Collectives::shared_zeros_like(const at::Tensor& like) { return at::zeros_like(like); }

void Collectives::reduce_scatter(const at::Tensor& flat) {
  start(Collective::kReduceScatter, flat);
  finish();
}

void Collectives::all_gather(const at::Tensor& flat) {
  start(Collective::kAllGather, flat);
  finish();
}

}  // namespace temper
