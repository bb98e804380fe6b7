// The payloads of a ring's buffers, laid out once: the views cost more than a small message's way.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <map>
#include <utility>

#include "comm/channel_wire.h"

namespace temper {

class PayloadViews {
 public:
  /// The payload of `rows` rows within one of the channel's buffers (bytes) uint8.
  const PayloadView& of(const at::Tensor& buffer, const ChannelConfig& config, int64_t rows) {
    const auto [found, added] = views_.try_emplace({buffer.const_data_ptr(), rows});
    if (added) found->second = payload_in(buffer, config, rows);
    return found->second;
  }

 private:
  std::map<std::pair<const void*, int64_t>, PayloadView> views_;  // keep their buffers alive
};

}  // namespace temper
