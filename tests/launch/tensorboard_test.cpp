// TensorBoard's event files: the checksum's published vectors, and files decoded again by a reader
// that shares nothing with the writer. tests/peers/tensorboard.sh reads them with TensorBoard
// itself.
#include "launch/tensorboard.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/launch/launcher.h"

namespace temper {
namespace {

TEST(TensorboardTest, ChecksumIsThatOfRfc3720) {
  EXPECT_EQ(crc32c("123456789"), 0xe3069283U);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aaU);
  EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43U);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending += static_cast<char>(i);
  EXPECT_EQ(crc32c(ascending), 0x46dd794eU);
  EXPECT_EQ(crc32c(""), 0U);
}

template <typename Number>
Number take(std::string& bytes) {
  Number number{};
  EXPECT_GE(bytes.size(), sizeof number);
  std::memcpy(&number, bytes.data(), sizeof number);
  bytes.erase(0, sizeof number);
  return number;
}

uint64_t take_varint(std::string& bytes) {
  uint64_t number = 0;
  for (int shift = 0; !bytes.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(bytes.front());
    bytes.erase(0, 1);
    number |= uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) break;
  }
  return number;
}

std::string take_bytes(std::string& bytes) {
  const uint64_t size = take_varint(bytes);
  const std::string taken = bytes.substr(0, size);
  EXPECT_EQ(taken.size(), size);
  bytes.erase(0, size);
  return taken;
}

std::string take_record(std::string& file) {
  const auto unmasked = [](uint32_t crc) {
    const uint32_t turned = crc - 0xa282ead8U;
    return turned >> 17 | turned << 15;
  };
  const std::string length = file.substr(0, 8);
  const auto size = take<uint64_t>(file);
  EXPECT_EQ(unmasked(take<uint32_t>(file)), crc32c(length));
  const std::string data = file.substr(0, size);
  file.erase(0, size);
  EXPECT_EQ(unmasked(take<uint32_t>(file)), crc32c(data));
  return data;
}

struct Event {
  double wall_time = 0;
  uint64_t step = 0;
  std::string version;
  std::vector<std::pair<std::string, float>> values;
};

Event decode(std::string bytes) {
  Event event;
  while (!bytes.empty()) {
    switch (take_varint(bytes)) {
      case 1 << 3 | 1:
        event.wall_time = take<double>(bytes);
        break;
      case 2 << 3 | 0:
        event.step = take_varint(bytes);
        break;
      case 3 << 3 | 2:
        event.version = take_bytes(bytes);
        break;
      case 5 << 3 | 2:
        for (std::string summary = take_bytes(bytes); !summary.empty();) {
          EXPECT_EQ(take_varint(summary), 1U << 3 | 2U);
          std::string value = take_bytes(summary);
          EXPECT_EQ(take_varint(value), 1U << 3 | 2U);
          const std::string tag = take_bytes(value);
          EXPECT_EQ(take_varint(value), 2U << 3 | 5U);
          event.values.emplace_back(tag, take<float>(value));
          EXPECT_EQ(value, "");
        }
        break;
      default:
        ADD_FAILURE() << "an unknown field";
        return event;
    }
  }
  return event;
}

TEST(TensorboardTest, WhatIsWrittenIsReadBack) {
  const ScratchDir scratch;
  const std::string dir = scratch / "deep/below";
  const std::string long_tag(300, 'x');  // its length takes two bytes
  {
    TensorboardFile events(dir, "1.training");
    events.write(0, {{"train/loss", 5.25}, {"train/lr", 1e-3}});
    events.write(3'000'000'000, {{long_tag, std::nan("")}});
  }
  std::string file = read_text(dir + "/events.out.tfevents.1.training");
  const Event first = decode(take_record(file));
  EXPECT_EQ(first.version, "brain.Event:2");
  EXPECT_GT(first.wall_time, 1.7e9);
  const Event second = decode(take_record(file));
  EXPECT_EQ(second.step, 0U);
  ASSERT_EQ(second.values.size(), 2U);
  EXPECT_EQ(second.values[0], std::pair(std::string("train/loss"), 5.25F));
  EXPECT_EQ(second.values[1], std::pair(std::string("train/lr"), 1e-3F));
  const Event third = decode(take_record(file));
  EXPECT_EQ(third.step, 3'000'000'000U);
  ASSERT_EQ(third.values.size(), 1U);
  EXPECT_EQ(third.values[0].first, long_tag);
  EXPECT_TRUE(std::isnan(third.values[0].second));
  EXPECT_EQ(file, "");
}

TEST(TensorboardTest, AFolderThatCannotBeMadeIsNamed) {
  const ScratchDir scratch;
  write_text(scratch / "file", "");
  try {
    TensorboardFile(scratch / "file/below", "1.training");
    FAIL() << "no exception";
  } catch (const c10::Error& error) {
    EXPECT_NE(std::string(error.what()).find("file/below"), std::string::npos) << error.what();
  }
  TensorboardFile().write(1, {{"a", 1}});  // writes nothing
}

}  // namespace
}  // namespace temper
