// Shapes from options.
#include "model/model_config.h"

#include <c10/util/Exception.h>
#include <gtest/gtest.h>

namespace temper {
namespace {

std::string refusal(const std::function<void(ModelConfig&)>& change) {
  ModelConfig config("student");
  change(config);
  try {
    config.resolve(100);
  } catch (const c10::ValueError& error) {
    return error.what_without_backtrace();
  }
  return "accepted";
}

TEST(ModelConfigTest, GivesTheShape) {
  ModelConfig config("student");
  config.width = 96;
  config.heads = 4;
  config.kv_heads = 2;
  const TransformerConfig shape = config.resolve(100);
  EXPECT_EQ(shape.vocab, 100);
  EXPECT_EQ(shape.head_width, 24);
  EXPECT_EQ(shape.ffn_width, 256);  // 8/3 · 96
  config.family = "gpt2";
  config.kv_heads = 0;
  EXPECT_EQ(config.resolve(100).ffn_width, 384);
  EXPECT_EQ(config.resolve(100).kv_heads, 4);
}

TEST(ModelConfigTest, RefusesNamingTheOption) {
  EXPECT_EQ(refusal([](ModelConfig&) {}), "accepted");
  EXPECT_NE(refusal([](ModelConfig& c) { c.width = 130; }).find("--student.width 130"),
            std::string::npos);
  EXPECT_NE(refusal([](ModelConfig& c) { c.layers = 0; }).find("--student.layers 0"),
            std::string::npos);
  EXPECT_NE(refusal([](ModelConfig& c) { c.kv_heads = 3; }).find("--student.kv-heads 3"),
            std::string::npos);
  EXPECT_NE(refusal([](ModelConfig& c) { c.family = "bert"; }).find("bert"), std::string::npos);
  EXPECT_NE(refusal([](ModelConfig& c) { c.width = 12; }).find("--student.width 12"),
            std::string::npos);  // heads of odd width
  EXPECT_NE(refusal([](ModelConfig& c) { c.path = "/nowhere"; }).find("/nowhere"),
            std::string::npos);
}

}  // namespace
}  // namespace temper
