// The safetensors reader trusts nothing.
#include "model/safetensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace temper {
namespace {

std::string path() {
  return testing::TempDir() + "temper-" + std::to_string(getpid()) + ".safetensors";
}

class SafetensorsTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove(path()); }
};

std::string with_header(const std::string& header, size_t data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + std::string(data, 'x');
}

std::string refusal(const std::string& bytes) {
  std::ofstream(path(), std::ios::binary) << bytes;
  try {
    const SafetensorsFile file(path());
    for (const std::string& name : file.names()) file.tensor(name).clone();
  } catch (const c10::ValueError& error) {
    const std::string message = error.what_without_backtrace();
    EXPECT_NE(message.find(path()), std::string::npos) << message;
    return message;
  }
  return "accepted";
}

TEST_F(SafetensorsTest, WritesAndReadsEveryDtype) {
  const std::vector<std::pair<std::string, at::Tensor>> tensors = {
      {"a", at::randn({3, 4})},
      {"b", at::randn({5}, at::kDouble)},
      {"c", at::arange(6).view({2, 3})},
      {"d", at::randn({2, 2}).to(at::kBFloat16)},
      {"e", at::randn({7}).to(at::kHalf)},
      {"f", at::zeros({0, 3})},
      {"g", at::full({}, 2.5)}};
  write_safetensors(path(), tensors);
  const SafetensorsFile file(path());
  EXPECT_EQ(file.names().size(), tensors.size());
  for (const auto& [name, tensor] : tensors) {
    EXPECT_TRUE(file.contains(name));
    EXPECT_TRUE(at::equal(file.tensor(name), tensor)) << name;
    EXPECT_EQ(file.tensor(name).scalar_type(), tensor.scalar_type());
  }
}

TEST_F(SafetensorsTest, TensorsOutliveTheFile) {
  write_safetensors(path(), {{"a", at::arange(1000)}});
  at::Tensor kept;
  { kept = SafetensorsFile(path()).tensor("a"); }
  EXPECT_TRUE(at::equal(kept, at::arange(1000)));
}

TEST_F(SafetensorsTest, RefusesWhatLies) {
  const std::string good = R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]}})";
  EXPECT_EQ(refusal(with_header(good, 16)), "accepted");
  EXPECT_NE(refusal("").find("truncated"), std::string::npos);
  EXPECT_NE(refusal("abc").find("truncated"), std::string::npos);
  EXPECT_NE(refusal(with_header(good, 15)).find("truncated"), std::string::npos);
  EXPECT_NE(refusal(with_header(good, 16).substr(0, 30)).find("truncated"), std::string::npos);
  const std::vector<std::pair<std::string, size_t>> bad = {
      {good, 17},                                                             // bytes left over
      {R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[4,20]}})", 20},   // a gap
      {R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,12]}})", 12},   // too few bytes
      {R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[16,0]}})", 16},   // backwards
      {R"({"a":{"dtype":"F32","shape":[2,-2],"data_offsets":[0,16]}})", 16},  // negative
      {R"({"a":{"dtype":"Q7","shape":[2,2],"data_offsets":[0,16]}})", 16},    // unknown dtype
      {R"({"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,16]}})",
       16},  // overflow
      {R"({"a":{"dtype":"F32","shape":[0,4611686018427387904,8],"data_offsets":[0,0]}})",
       0},  // no bytes, but strides that overflow
      {R"({"a":{"dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,16]}})",
       16},                                            // overflow
      {R"({"a":{"dtype":"F32","shape":[2,2]}})", 16},  // no offsets
      {R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"a":{"dtype":"F32","shape":[],"data_offsets":[16,20]}})",
       20},  // twice
      {R"({"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,16]},"b":{"dtype":"F32","shape":[2,2],"data_offsets":[8,24]}})",
       24},  // overlap
      {R"({"a":{"dtype":"F32","shape":[2.5],"data_offsets":[0,16]}})", 16},
      {R"({"a":7})", 0},
      {R"([1])", 0},
      {"{", 0},
      {std::string(5000, '['), 0},
      {"\xef\xbb\xbf" + good, 16},        // a byte order mark
      {good + std::string(1, '\0'), 16},  // a NUL byte, at which nlohmann-json would stop reading
      {good + std::string(1, '\0') + "}", 16},
  };
  for (const auto& [header, data] : bad)
    EXPECT_NE(refusal(with_header(header, data)), "accepted") << header.substr(0, 80);
  // A header length beyond every file.
  EXPECT_NE(refusal(std::string(8, '\xff') + good), "accepted");
}

TEST_F(SafetensorsTest, AMutatedFileIsReadOrRefused) {
  write_safetensors(path(), {{"weight", at::randn({4, 4})}, {"bias", at::randn({4})}});
  std::ifstream in(path(), std::ios::binary);
  const std::string bytes(std::istreambuf_iterator<char>(in), {});
  at::manual_seed(1);
  for (int i = 0; i < 2000; ++i) {
    std::string mutant = bytes;
    const at::Tensor where = at::randint(static_cast<int64_t>(bytes.size()), {2}, at::kLong);
    mutant[static_cast<size_t>(where[0].item<int64_t>())] =
        static_cast<char>(at::randint(256, {1}, at::kLong).item<int64_t>());
    if (i % 3 == 0) mutant.resize(static_cast<size_t>(where[1].item<int64_t>()));
    refusal(mutant);  // must come back, with any answer
  }
}

}  // namespace
}  // namespace temper
