// The header that both ends of the soft-target channel compute for a micro-batch.
#include "comm/soft_target_channel.h"

namespace temper {

SoftTargetHeader make_header(const ChannelConfig& config, const MicroBatchId& id,
                             const at::Tensor& tokens) {
  SoftTargetHeader header;
  header.payload = config.payload.kind;
  header.step = id.step;
  header.first_row = id.first_row;
  header.rows = static_cast<uint32_t>(id.rows);
  header.seq = static_cast<uint32_t>(config.seq);
  header.vocab = config.payload.vocab;
  header.temperature = config.temperature.at(id.step);
  header.token_hash = hash_tokens(tokens);
  header.tokenizer = config.tokenizer;
  return header;
}

}  // namespace temper
