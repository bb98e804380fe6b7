#include "student/trunk_graph.h"

namespace temper {

std::unique_ptr<TrunkGraph> record_trunk(Transformer&, at::ScalarType, at::IntArrayRef) {
  return nullptr;
}

}  // namespace temper
