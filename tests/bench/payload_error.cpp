// What each payload costs in accuracy: the student's gradient, over all its weights, against that
// of exact fp32 logits; and whether the draws of `sample` give it in expectation.
//
//   payload_error TEACHER STUDENT TEXT [SEEDS]
//
// TEACHER and STUDENT are Hugging Face folders with the same tokenizer, TEXT a file that the
// teacher's tokenizer reads. Prints one line for each T, payload and value type: label, cosine,
// relative error of the gradient, relative difference of the loss; then for each T how far the mean
// over SEEDS (4096) seeds is from the exact gradient, in standard errors.
#include <ATen/ATen.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "comm/value_coding.h"
#include "data/corpus.h"
#include "data/data_config.h"
#include "model/hugging_face.h"
#include "student/head_loss.h"
#include "teacher/inference.h"
#include "teacher/payload_encoder.h"

namespace temper {
namespace {

struct Models {
  Transformer teacher, student;
  std::unique_ptr<Corpus> corpus;
};

struct Gradient {
  at::Tensor value;  // (P) of all weights
  double loss = 0;
};

PayloadSpec spec_of(const Models& models, Payload kind, int64_t entries, at::ScalarType type) {
  PayloadSpec spec;
  spec.kind = kind;
  spec.vocab = models.teacher.config().vocab;
  spec.width = models.teacher.config().width;
  spec.entries = entries;
  spec.dtype = type;
  return spec;
}

/// d Σ T²·KL / d weights of the student on `batch`, the soft targets alone.
Gradient gradient_of(Models& models, const Batch& batch, const SoftTargets& soft,
                     const LossConfig& loss) {
  models.student.flat_gradients().zero_();
  at::Tensor hidden;
  {
    const at::AutoGradMode grad(true);
    hidden = models.student.hidden(batch.tokens, at::kFloat).flatten(0, 1);  // (N, C)
  }
  at::Tensor hidden_gradient;  // (N, C)
  const LossSums sums =
      head_loss(hidden.detach(), models.student.head(), models.student.head_gradient(),
                batch.labels.reshape(-1), soft, loss, hidden_gradient);
  hidden.backward(hidden_gradient);
  return {models.student.flat_gradients().to(at::kDouble), sums.loss};
}

void print_errors(Models& models, double temperature) {
  const Batch batch = models.corpus->read(Part::kTrain, 1, 0, 8, 64);
  LossConfig loss;
  loss.alpha = 1.0;
  loss.temperature = temperature;
  const auto measure = [&](const PayloadSpec& spec) {
    LocalSoftTargets source(TeacherInference(models.teacher, at::kFloat, spec, temperature, 1));
    const SoftTargets soft = source.targets({.step = 0, .first_row = 0, .rows = 8}, batch.tokens);
    return gradient_of(models, batch, soft, loss);
  };
  const Gradient exact = measure(spec_of(models, Payload::kFull, 0, at::kFloat));
  const auto print = [&](const std::string& payload, const PayloadSpec& spec) {
    const Gradient own = measure(spec);
    const double cosine =
        (own.value.dot(exact.value) / (own.value.norm() * exact.value.norm())).item<double>();
    const double error = ((own.value - exact.value).norm() / exact.value.norm()).item<double>();
    const std::string values =
        spec.values_per_token() > 0 ? value_type_name(spec.dtype) : std::string("-");
    std::printf("error %g %s %s %.6f %.3e %.3e\n", temperature, payload.c_str(), values.c_str(),
                cosine, error, std::abs(own.loss - exact.loss) / exact.loss);
    std::fflush(stdout);
  };
  for (const at::ScalarType type : {at::kFloat, at::kBFloat16, at::kHalf, at::kByte}) {
    print("full", spec_of(models, Payload::kFull, 0, type));
    print("hidden", spec_of(models, Payload::kHidden, 0, type));
  }
  for (const char* tail : {"bucket", "renormalise"}) {
    loss.tail = tail;
    for (const at::ScalarType type : {at::kFloat, at::kByte})
      print("topk-64-" + loss.tail, spec_of(models, Payload::kTopk, 64, type));
  }
  for (const int64_t draws : {12, 64})
    print("sample-" + std::to_string(draws), spec_of(models, Payload::kSample, draws, at::kFloat));
}

void print_expectation(Models& models, double temperature, int64_t seeds) {
  const Batch batch = models.corpus->read(Part::kTrain, 1, 0, 2, 32);
  const int64_t tokens = batch.tokens.numel();
  LossConfig loss;
  loss.alpha = 1.0;
  loss.temperature = temperature;
  at::Tensor logits;  // (N, V)
  {
    const at::NoGradGuard no_grad;
    logits = at::mm(models.teacher.hidden(batch.tokens, at::kFloat).flatten(0, 1),
                    models.teacher.head().detach().to(at::kFloat).t());
  }
  const at::Tensor exact = gradient_of(models, batch, SoftTargets::of_logits(logits), loss).value;
  const PayloadSpec spec = spec_of(models, Payload::kSample, 12, at::kFloat);
  const at::Tensor bytes = at::empty({tokens * spec.bytes_per_token()}, at::kByte);
  const PayloadView view(bytes, spec, tokens);
  at::Tensor sum = at::zeros_like(exact), squares = at::zeros_like(exact);  // (P)
  for (int64_t seed = 0; seed < seeds; ++seed) {
    const std::vector<double> uniform = draw_uniform(static_cast<uint64_t>(seed), 0, 0, 2, 32);
    encode_payload(logits, spec, temperature, uniform, 0, view);
    const at::Tensor own =
        gradient_of(models, batch, soft_targets(view, spec, {}), loss).value.sub_(exact);  // (P)
    sum.add_(own);
    squares.addcmul_(own, own);
  }
  const auto n = static_cast<double>(seeds);
  const at::Tensor bias = sum / n;                                                       // (P)
  const at::Tensor error = (squares / n - bias.square()).clamp_min_(0).div_(n).sqrt_();  // (P)
  const at::Tensor counted = error > 1e-6 * exact.abs().max();                           // (P)
  const at::Tensor far = (bias.abs() > 3 * error).logical_and_(counted);                 // (P)
  std::printf("expectation %g %.3f %.4f %.4f\n", temperature,
              (bias.norm() / error.norm()).item<double>(),
              100 * far.sum().item<double>() / counted.sum().item<double>(),
              (bias.norm() / exact.norm()).item<double>());
}

int run(const std::vector<std::string>& arguments) {
  if (arguments.size() < 3) {
    std::fprintf(stderr, "usage: payload_error TEACHER STUDENT TEXT [SEEDS]\n");
    return 2;
  }
  DataConfig data;
  data.source = "text";
  data.text = arguments[2];
  data.tokenizer = arguments[0];
  Models models{load_model(arguments[0], LoadOptions()), load_model(arguments[1], LoadOptions()),
                open_corpus(data, "", /*may_write=*/false)};
  models.student.require_gradients();
  const int64_t seeds = arguments.size() > 3 ? std::stoll(arguments[3]) : 4096;
  for (const double temperature : {1.0, 4.0}) {
    print_errors(models, temperature);
    print_expectation(models, temperature, seeds);
  }
  return 0;
}

}  // namespace
}  // namespace temper

int main(int argc, char** argv) {
  try {
    return temper::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    std::fprintf(stderr, "payload_error: %s\n", error.what());
    return 1;
  }
}
