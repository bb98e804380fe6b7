// Which model it is: a checksum of its shape and of every weight. Of a teacher, whose soft targets
// depend on nothing else; of the weights that a training began with.
#pragma once

#include <string>

#include "model/transformer.h"

namespace temper {

/// 32 hexadecimal digits: the same for the same family, shape, dtype and weights, whatever folder
/// they came from and whatever device they are on.
std::string fingerprint(const Transformer& model);

}  // namespace temper
