// The bytes of the soft-target channel, shared by its two ends and by every transport.
//
//   message (teacher to student):  SoftTargetHeader (64 bytes) | the payload of rows·S tokens, laid
//                                  out as payload.h says
//   credit  (student to teacher):  unit | bytes of the buffer that waits for it
//   end     (student to teacher):  kNoFurtherUnit | 0, in the place of a credit
//   ids     (student to teacher):  rows·S int64, of a micro-batch that the student wrote itself
//
// A buffer is one message of max_rows rows; a smaller micro-batch uses, and sends, only its
// beginning. Buffers are aligned to 64 bytes, so what follows the header is aligned too, and is
// handed out as views.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include <cstring>

#include "comm/channel_config.h"
#include "comm/soft_targets.h"

namespace temper {

constexpr int kSoftTargetTag = 701;
constexpr int kCreditTag = 702;
constexpr int kOwnTokensTag = 704;  // 703: link.cpp of nccl
constexpr int64_t kHeaderBytes = sizeof(SoftTargetHeader);

/// A student's word that a buffer is free.
struct Credit {
  int64_t unit = 0;
  int64_t buffer_bytes = 0;
};
constexpr int64_t kNoFurtherUnit = -1;
constexpr Credit kEndOfCredits = {kNoFurtherUnit, 0};

/// Throws c10::ValueError or c10::Error if no buffers can be laid out so.
inline void validate(const ChannelConfig& config) {
  TORCH_CHECK_VALUE(config.lookahead >= 0, "--teacher.lookahead ", config.lookahead,
                    ": must be 0 or more");
  TORCH_CHECK(config.max_rows > 0 && config.seq > 0, "a soft-target channel of ", config.max_rows,
              " rows and ", config.seq, " positions: both must be more than 0");
  config.payload.validate();
}

/// Bytes of a message with this many rows.
inline int64_t message_bytes(const ChannelConfig& config, int64_t rows) {
  return kHeaderBytes + rows * config.seq * config.payload.bytes_per_token();
}

inline int64_t buffer_bytes(const ChannelConfig& config) {
  return message_bytes(config, config.max_rows);
}

inline at::Tensor make_buffer(const ChannelConfig& config, at::Device device = at::kCPU) {
  return at::empty({buffer_bytes(config)}, at::TensorOptions(at::kByte).device(device));  // (bytes)
}

/// The payload of `rows` rows within a buffer.
inline PayloadView payload_in(const at::Tensor& buffer, const ChannelConfig& config, int64_t rows) {
  return {buffer.narrow(0, kHeaderBytes, message_bytes(config, rows) - kHeaderBytes),
          config.payload, rows * config.seq};
}

inline void write_header(const at::Tensor& buffer, const SoftTargetHeader& header) {
  std::memcpy(buffer.data_ptr(), &header, sizeof header);
}

inline SoftTargetHeader read_header(const at::Tensor& buffer) {
  SoftTargetHeader header;
  std::memcpy(&header, buffer.const_data_ptr(), sizeof header);
  return header;
}

/// Throws c10::Error unless a student's credit is for `unit` and a buffer of `bytes`.
inline void check_credit(const Credit& credit, int64_t unit, int64_t bytes, int student_rank) {
  TORCH_CHECK(credit.buffer_bytes == bytes, "student rank ", student_rank,
              " has soft-target buffers of ", credit.buffer_bytes, " bytes and this teacher of ",
              bytes,
              "; start both sides with the same options (micro-batch, sequence length, "
              "vocabulary, payload, precision)");
  TORCH_CHECK(credit.unit == unit, "student rank ", student_rank, " granted its micro-batch ",
              credit.unit, " and this teacher is at ", unit,
              "; both sides must count micro-batches alike");
}

}  // namespace temper
