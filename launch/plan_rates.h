// Rates that are not measured: from the models' FLOPs, or from the user's tokens per second.
#pragma once

#include <vector>

#include "launch/throughput_model.h"
#include "model/transformer_config.h"

namespace temper {

/// FLOPs of a token. The teacher: its forward pass, without the head for the payload hidden. The
/// student: 3 forward passes (forward, and twice that backward), and for hidden the product with
/// the teacher's head too.
double teacher_flops(const TransformerConfig& teacher, int64_t seq, Payload payload);
double student_flops(const TransformerConfig& student, const TransformerConfig& teacher,
                     int64_t seq, Payload payload);

/// Sets the seconds of `rates` for ranks that do `flops_per_s` (peak times utilisation). Encoding
/// and decoding of topk and sample, softmaxes and norms are taken as part of the utilisation.
void set_rates_from_flops(std::vector<PayloadRates>& rates, const TransformerConfig& teacher,
                          const TransformerConfig& student, int64_t seq, double flops_per_s);

/// Sets them from the tokens per second that one rank of each role does with the payload full; the
/// other payloads in proportion to their FLOPs.
void set_rates_from_tokens(std::vector<PayloadRates>& rates, const TransformerConfig& teacher,
                           const TransformerConfig& student, int64_t seq,
                           double teacher_tokens_per_s, double student_tokens_per_s);

/// TCP's share of an Ethernet link: 1448 bytes of data in a frame that takes 1538 on the wire
/// (MTU 1500, time stamps on).
inline constexpr double kLinkGoodput = 0.94;
/// Bus bandwidth of MPI_Allreduce in host memory where it cannot be measured: 1.4 GB/s, what two
/// ranks of Open MPI 4.1 on one machine reach with 64 MiB.
inline constexpr double kNodeBytesPerSecond = 1.4e9;

}  // namespace temper
