// Values and gradients as PyTorch and TRL compute them (tests/peers/make_losses.py made the file),
// to 1e-9 in float64.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <sstream>
#include <string>
#include <vector>

#include "model/safetensors.h"
#include "student/loss.h"

namespace temper {
namespace {

std::vector<std::string> parts_of(const std::string& name) {
  std::vector<std::string> parts;
  std::istringstream stream(name);
  for (std::string part; std::getline(stream, part, '/');) parts.push_back(part);
  return parts;
}

TEST(GoldenLossesTest, EqualPyTorchAndTrl) {
  const SafetensorsFile file(TEMPER_SOURCE_DIR "/tests/student/golden_losses.safetensors");
  const at::Tensor student = file.tensor("student"), teacher = file.tensor("teacher"),
                   labels = file.tensor("labels");
  int cases = 0;
  for (const std::string& name : file.names()) {
    const std::vector<std::string> parts = parts_of(name);
    if (parts.back() != "value") continue;
    ++cases;
    const double value = file.tensor(name).item<double>();
    const at::Tensor right = file.tensor(name.substr(0, name.size() - 5) + "gradient");
    at::Tensor gradient = student.clone();
    LossConfig config;
    double got = 0, factor = 1;
    if (parts[0] == "label") {
      config.labels = {.smoothing = std::stod(parts[1]),
                       .temperature = std::stod(parts[2]),
                       .rescale = parts[3] == "true"};
      got = distillation_loss_(gradient, {}, labels, config).loss;
    } else {
      config.alpha = 1;
      config.kind = parts[0];
      config.beta = std::stod(parts[1]);
      config.temperature = std::stod(parts[2]);
      got = distillation_loss_(gradient, SoftTargets::of_logits(teacher), labels, config).kl;
      factor = temperature_factor(divergence_from_name(config.kind), config.temperature);
    }
    EXPECT_NEAR(got, value, 1e-9 * std::abs(value)) << name;
    EXPECT_LE((gradient / factor - right).norm().item<double>(), 1e-9 * right.norm().item<double>())
        << name;
  }
  EXPECT_EQ(cases, 3 * (3 + 2 * 5 + 4));
}

}  // namespace
}  // namespace temper
