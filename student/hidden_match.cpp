#include "student/hidden_match.h"

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>
#include <c10/util/Exception.h>

#include <boost/program_options/value_semantic.hpp>
#include <cmath>

#include "data/corpus.h"

namespace temper {

namespace po = boost::program_options;

void HiddenMatchConfig::add_options(po::options_description& options) {
  options.add_options()(
      "loss.hidden-weight", po::value<double>(&weight)->default_value(weight)->value_name("G"),
      "with teacher.payload hidden: weight of matching the student's last hidden states, through a "
      "learned projection, with the teacher's (0: no matching)")(
      "loss.hidden-kind",
      po::value<std::string>(&kind)->default_value(kind)->value_name("cosine|mse"),
      "what is matched: the direction of the hidden states (1 - cosine), or their values (mean "
      "squared difference over the channels)");
}

void HiddenMatchConfig::validate() const {
  TORCH_CHECK_VALUE(std::isfinite(weight) && weight >= 0, "--loss.hidden-weight is ", weight,
                    ": give a finite number of at least 0 (1 is usual, 0 for no matching)");
  TORCH_CHECK_VALUE(kind == "cosine" || kind == "mse", "--loss.hidden-kind is '", kind,
                    "': give cosine or mse");
  const std::string usual = HiddenMatchConfig().kind;
  TORCH_CHECK_VALUE(weight > 0 || kind == usual, "--loss.hidden-kind is ", kind,
                    " with --loss.hidden-weight 0, where it has no effect: give "
                    "--loss.hidden-weight above 0 (1 is usual), or --loss.hidden-kind ",
                    usual);
}

HiddenMatch::HiddenMatch(const HiddenMatchConfig& config, const TrainConfig& train,
                         int64_t student_width, int64_t teacher_width, uint64_t seed,
                         const at::Tensor& like)
    : config_(config), train_(train) {
  if (student_width == teacher_width) {
    projection_ = at::eye(student_width, like.options());  // (D, C)
  } else {
    const at::Generator generator = at::detail::createCPUGenerator(seed);
    projection_ = at::randn({teacher_width, student_width}, generator, at::kFloat)
                      .div_(std::sqrt(static_cast<double>(student_width)))
                      .to(like.options());  // (D, C)
  }
  gradient_ = at::zeros_like(projection_);
  first_moment_ = at::zeros_like(projection_);
  second_moment_ = at::zeros_like(projection_);
  steps_ = at::zeros({}, projection_.options().dtype(at::kFloat));
}

double HiddenMatch::loss(const at::Tensor& hidden, const at::Tensor& teacher,
                         const at::Tensor& labels, const at::Tensor& hidden_gradient) {
  const at::NoGradGuard no_grad;
  const at::ScalarType wide = projection_.scalar_type();
  const at::Tensor weight = projection_.to(hidden.scalar_type());             // (D, C)
  const at::Tensor u = at::mm(hidden, weight.t()).to(wide);                   // (N, D)
  const at::Tensor t = teacher.to(wide);                                      // (N, D)
  const at::Tensor counts = (labels != kIgnoredLabel).to(wide).unsqueeze(1);  // (N, 1)
  at::Tensor values, gradient;                                                // (N, 1), (N, D)
  if (config_.kind == "mse") {
    const at::Tensor difference = u - t;  // (N, D)
    values = difference.square().mean(1, /*keepdim=*/true);
    gradient = difference * (2.0 / static_cast<double>(t.size(1)));
  } else {
    constexpr double kLeastNorm = 1e-8;  // a vector of zeros has no direction, and no gradient
    const at::Tensor length = u.norm(2, 1, /*keepdim=*/true);  // (N, 1)
    const at::Tensor norm = length.clamp_min(kLeastNorm);      // (N, 1)
    const at::Tensor along = u / norm;                         // (N, D)
    const at::Tensor to = t / t.norm(2, 1, /*keepdim=*/true).clamp_min(kLeastNorm);
    const at::Tensor cosine = (along * to).sum(1, /*keepdim=*/true);  // (N, 1)
    values = 1 - cosine;
    gradient = ((along * cosine - to) / norm).masked_fill_(length < kLeastNorm, 0);
  }
  gradient = (gradient * (counts * config_.weight)).to(hidden.scalar_type());  // (N, D)
  hidden_gradient.addmm_(gradient, weight);
  gradient_.add_(at::mm(gradient.t(), hidden).to(wide));
  return (values * counts).sum(at::kDouble).item<double>();
}

void HiddenMatch::update(double learning_rate, double scale, Collectives& students) {
  const at::NoGradGuard no_grad;
  students.all_reduce(gradient_);
  gradient_.mul_(scale);
  if (train_.optimizer == "adamw") {
    steps_.add_(1);
    at::_fused_adamw_({projection_}, {gradient_}, {first_moment_}, {second_moment_}, {}, {steps_},
                      learning_rate, train_.beta1, train_.beta2, /*weight_decay=*/0.0, train_.eps,
                      /*amsgrad=*/false, /*maximize=*/false);
  } else {
    projection_.sub_(gradient_, learning_rate);
  }
  gradient_.zero_();
}

void HiddenMatch::discard() {
  const at::NoGradGuard no_grad;
  gradient_.zero_();
}

}  // namespace temper
