#include "student/label_loss.h"

#include <c10/util/Exception.h>

#include <boost/program_options/value_semantic.hpp>
#include <cmath>

namespace temper {

namespace po = boost::program_options;

void LabelLossConfig::add_options(po::options_description& options) {
  const auto number = [](double* member, const char* name) {
    return po::value<double>(member)->default_value(*member)->value_name(name);
  };
  auto add = options.add_options();
  add("loss.label-smoothing", number(&smoothing, "E"),
      "share of the hard label that is spread over all ids, 0 to below 1");
  add("loss.hard-temperature", number(&temperature, "T"),
      "softmax tempering: the hard labels' cross-entropy is taken at this temperature; that of the "
      "soft targets is teacher.temperature");
  add("loss.hard-rescale",
      po::value<bool>(&rescale)->default_value(rescale)->value_name("true|false"),
      "multiply the tempered cross-entropy by its temperature, so that its gradient keeps its "
      "size");
  add("loss.confidence-penalty", number(&confidence_penalty, "C"),
      "weight of the negative entropy of the model's distribution at T = 1: above 0 punishes being "
      "sure");
  add("loss.z-loss", number(&z_loss, "L"),
      "weight of the squared logarithm of the softmax's denominator, which keeps it near 1 (1e-4 "
      "is "
      "usual)");
}

void LabelLossConfig::validate() const {
  TORCH_CHECK_VALUE(smoothing >= 0 && smoothing < 1, "--loss.label-smoothing is ", smoothing,
                    ": give a number from 0 to below 1 (0.1 is usual)");
  TORCH_CHECK_VALUE(std::isfinite(temperature) && temperature > 0, "--loss.hard-temperature is ",
                    temperature, ": a temperature must be a finite number above 0");
  TORCH_CHECK_VALUE(std::isfinite(confidence_penalty), "--loss.confidence-penalty is ",
                    confidence_penalty, ": give a finite number (0.1 is usual, 0 for none)");
  TORCH_CHECK_VALUE(std::isfinite(z_loss) && z_loss >= 0, "--loss.z-loss is ", z_loss,
                    ": give a finite number of at least 0 (1e-4 is usual, 0 for none)");
}

}  // namespace temper
