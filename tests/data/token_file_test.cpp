// Token files as others write them, and as nobody should.
#include "data/token_file.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>

namespace temper {
namespace {

class TokenFileTest : public testing::Test {
 protected:
  std::string write(const std::string& bytes) {
    std::ofstream(path_, std::ios::binary) << bytes;
    return path_;
  }
  std::string refusal(const std::string& bytes, int64_t vocab = 1000) {
    write(bytes);
    try {
      TokenFile::open(path_, vocab, 0.1, 0.1);
    } catch (const c10::ValueError& error) {
      const std::string message = error.what_without_backtrace();
      EXPECT_NE(message.find(path_), std::string::npos) << message;
      return message;
    }
    return "accepted";
  }
  void TearDown() override { std::filesystem::remove(path_); }
  std::string path_ =
      (std::filesystem::temp_directory_path() / ("temper-tokens-" + std::to_string(getpid())))
          .string();
};

template <typename T>
std::string raw(int64_t count) {
  std::string bytes;
  for (int64_t i = 0; i < count; ++i) {
    const T id = static_cast<T>(i % 100);
    bytes.append(reinterpret_cast<const char*>(&id), sizeof id);
  }
  return bytes;
}

std::string npy(const std::string& descr, const std::string& shape, const std::string& data,
                const std::string& fortran = "False") {
  std::string header =
      "{'descr': '" + descr + "', 'fortran_order': " + fortran + ", 'shape': " + shape + ", }";
  header.resize((header.size() + 11 + 63) / 64 * 64 - 10, ' ');
  header.back() = '\n';
  const auto length = static_cast<uint16_t>(header.size());
  std::string bytes = std::string("\x93NUMPY\x01", 7) + std::string(1, '\0');
  bytes.append(reinterpret_cast<const char*>(&length), 2);
  return bytes + header + data;
}

std::string llmc(int32_t count, const std::string& data, int32_t version = 1) {
  std::vector<int32_t> header(256, 0);
  header[0] = 20240520;
  header[1] = version;
  header[2] = count;
  return std::string(reinterpret_cast<const char*>(header.data()), 1024) + data;
}

TEST_F(TokenFileTest, ReadsEveryFormat) {
  const std::vector<std::pair<std::string, std::string>> files = {
      {npy("|u1", "(1000,)", raw<uint8_t>(1000)), "NumPy u1"},
      {npy("<u2", "(1000,)", raw<uint16_t>(1000)), "NumPy u2"},
      {npy("<u4", "(1000,)", raw<uint32_t>(1000)), "NumPy u4"},
      {npy("<i4", "(1000,)", raw<int32_t>(1000)), "NumPy i4"},
      {npy("<i8", "(1000,)", raw<int64_t>(1000)), "NumPy i8"},
      {llmc(1000, raw<uint16_t>(1000)), "llm.c"}};
  for (const auto& [bytes, format] : files) {
    const std::unique_ptr<TokenFile> file = TokenFile::open(write(bytes), 100, 0.1, 0.1);
    EXPECT_NE(file->describe().find(format), std::string::npos) << file->describe();
    const Batch test =
        file->read(Part::kTest, 0, 0, 3, 20);  // the last 100 of 1000 ids: 0, 1, 2 ...
    EXPECT_TRUE(at::equal(test.tokens.reshape(-1), at::arange(60))) << format;
    EXPECT_TRUE(at::equal(test.labels.reshape(-1), at::arange(60) + 1)) << format;
  }
}

TEST_F(TokenFileTest, NamesTheIdOutsideTheVocabulary) {
  std::string data = raw<uint16_t>(100000);
  const uint16_t bad = 777;
  std::memcpy(data.data() + 2 * 70001, &bad, 2);
  const std::string message = refusal(npy("<u2", "(100000,)", data), 100);
  EXPECT_NE(message.find("token 70001 has the id 777"), std::string::npos) << message;
  std::string negative = raw<int32_t>(500);
  const int32_t minus = -5;
  std::memcpy(negative.data() + 4 * 3, &minus, 4);
  EXPECT_NE(refusal(npy("<i4", "(500,)", negative)).find("token 3 has the id -5"),
            std::string::npos);
}

TEST_F(TokenFileTest, RefusesWhatLies) {
  EXPECT_NE(refusal("").find("empty"), std::string::npos);
  EXPECT_NE(refusal("To be, or not to be").find("neither"), std::string::npos);
  EXPECT_NE(refusal("\x93NUMPY").find("truncated"), std::string::npos);
  EXPECT_NE(refusal(npy("<u2", "(1000,)", raw<uint16_t>(999))).find("truncated"),
            std::string::npos);
  EXPECT_NE(refusal(npy("<u2", "(100, 10)", raw<uint16_t>(1000))).find("one dimension"),
            std::string::npos);
  EXPECT_NE(refusal(npy("<f4", "(1000,)", raw<uint32_t>(1000))).find("dtype"), std::string::npos);
  EXPECT_NE(refusal(npy(">u2", "(1000,)", raw<uint16_t>(1000))).find("little-endian"),
            std::string::npos);
  EXPECT_NE(refusal(npy("<u2", "(0,)", "")).find("empty"), std::string::npos);
  EXPECT_NE(refusal(npy("<u2", "(999999999999999999,)", "")).find("truncated"), std::string::npos);
  EXPECT_NE(refusal(llmc(1000, raw<uint16_t>(999))).find("truncated"), std::string::npos);
  EXPECT_NE(refusal(llmc(-1, raw<uint16_t>(9))).find("truncated"), std::string::npos);
  EXPECT_NE(refusal(llmc(9, raw<uint16_t>(9), 2)).find("version 2"), std::string::npos);
  EXPECT_NE(refusal(llmc(9, "").substr(0, 100)).find("truncated"), std::string::npos);
}

TEST_F(TokenFileTest, MissingFilesAndFolders) {
  EXPECT_THROW(TokenFile::open("/nowhere/tokens.npy", 10, 0.1, 0.1), c10::ValueError);
  EXPECT_THROW(TokenFile::open("/tmp", 10, 0.1, 0.1), c10::ValueError);
}

}  // namespace
}  // namespace temper
