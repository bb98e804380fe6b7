#include "launch/tensorboard.h"

#include <c10/util/Exception.h>

#include <array>
#include <bit>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>

namespace temper {

namespace {

constexpr std::array<uint32_t, 256> crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? 0x82f63b78U : 0);
    table[byte] = crc;
  }
  return table;
}

template <typename Number>
std::string little_endian(Number number) {
  std::string bytes;
  for (size_t i = 0; i < sizeof(Number); ++i)
    bytes += static_cast<char>((number >> (8 * i)) & 0xff);
  return bytes;
}

// A CRC of data that hold CRCs is weak; TFRecord therefore rotates it and adds a constant.
uint32_t masked(uint32_t crc) { return std::rotr(crc, 15) + 0xa282ead8U; }

// Protobuf: a field is its number and wire type as a varint, then the value.
enum class Wire : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::string varint(uint64_t number) {
  std::string bytes;
  for (; number >= 0x80; number >>= 7) bytes += static_cast<char>(number | 0x80);
  return bytes + static_cast<char>(number);
}

std::string key(uint64_t field, Wire wire) {
  return varint(field << 3 | static_cast<uint64_t>(wire));
}

std::string bytes_field(uint64_t field, std::string_view bytes) {
  return key(field, Wire::kBytes) + varint(bytes.size()) + std::string(bytes);
}

std::string wall_time_field(double seconds) {
  return key(1, Wire::kFixed64) + little_endian(std::bit_cast<uint64_t>(seconds));
}

double now() {
  return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

}  // namespace

uint32_t crc32c(std::string_view bytes) {
  static constexpr std::array<uint32_t, 256> kTable = crc_table();
  uint32_t crc = 0xffffffffU;
  for (const char byte : bytes)
    crc = (crc >> 8) ^ kTable[(crc ^ static_cast<uint8_t>(byte)) & 0xff];
  return ~crc;
}

std::string tfrecord(std::string_view data) {
  const std::string length = little_endian(static_cast<uint64_t>(data.size()));
  return length + little_endian(masked(crc32c(length))) + std::string(data) +
         little_endian(masked(crc32c(data)));
}

std::string scalar_event(double wall_time, int64_t step, const Scalars& scalars) {
  std::string summary;
  for (const auto& [tag, value] : scalars) {
    summary +=
        bytes_field(1, bytes_field(1, tag) + key(2, Wire::kFixed32) +
                           little_endian(std::bit_cast<uint32_t>(static_cast<float>(value))));
  }
  return wall_time_field(wall_time) + key(2, Wire::kVarint) + varint(static_cast<uint64_t>(step)) +
         bytes_field(5, summary);
}

TensorboardFile::TensorboardFile(const std::string& dir, const std::string& name)
    : path_(dir + "/events.out.tfevents." + name) {
  std::error_code error;
  std::filesystem::create_directories(dir, error);
  TORCH_CHECK(!error, "cannot make the folder ", dir, ": ", error.message());
  errno = 0;
  file_.open(path_, std::ios::binary | std::ios::trunc);
  TORCH_CHECK(file_, "cannot write ", path_, ": ", std::strerror(errno));
  append(wall_time_field(now()) + bytes_field(3, "brain.Event:2"));
}

void TensorboardFile::write(int64_t step, const Scalars& scalars) {
  if (!path_.empty()) append(scalar_event(now(), step, scalars));
}

void TensorboardFile::append(const std::string& event) {
  errno = 0;
  file_ << tfrecord(event) << std::flush;
  TORCH_CHECK(file_, "cannot write ", path_, ": ", std::strerror(errno));
}

}  // namespace temper
