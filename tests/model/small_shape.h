// The shape of a model that is made, trained and written within a test.
#pragma once

#include "model/transformer_config.h"

namespace temper {

/// LLaMA's, two heads.
inline TransformerConfig small_shape(int64_t vocab, int64_t positions, int64_t layers,
                                     int64_t width) {
  TransformerConfig config;
  config.vocab = vocab;
  config.positions = positions;
  config.layers = layers;
  config.width = width;
  config.heads = config.kv_heads = 2;
  config.head_width = width / 2;
  config.ffn_width = 2 * width;
  return config;
}

}  // namespace temper
