#include "student/free_running.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <cmath>

#include "data/random.h"
#include "model/generation.h"
#include "model/logits_chunk.h"
#include "model/sampler.h"

namespace temper {

namespace po = boost::program_options;

namespace {

// What draws are keyed by besides their place: no two kinds share a stream.
constexpr uint64_t kStepPurpose = 0x6f6e2d706f6c6963, kWritePurpose = 0x7772697465726f77,
                   kMixPurpose = 0x6d69786d69786d69, kPredictPurpose = 0x7072656469637421;

double uniform(std::initializer_list<uint64_t> key) {
  return static_cast<double>(hash_key(key) >> 11) * 0x1p-53;
}

}  // namespace

void FreeRunningConfig::add_options(po::options_description& options, bool with_teacher) {
  const auto number = [](double* member, const char* name) {
    return po::value<double>(member)->default_value(*member)->value_name(name);
  };
  auto add = options.add_options();
  add("train.scheduled-sampling", number(&scheduled_sampling, "P"),
      "probability that a token of the input is the student's own draw for its place, reached at "
      "the "
      "last step and growing from 0 (0: the corpus's tokens alone); one forward pass more");
  add("train.prompt", po::value<int64_t>(&prompt)->default_value(prompt)->value_name("N"),
      "tokens at the beginning of each row that are a prompt (0: a quarter of train.seq), for "
      "train.completion-only and train.on-policy");
  add("train.completion-only",
      po::value<bool>(&completion_only)->default_value(completion_only)->value_name("true|false"),
      "labels within the prompt do not count: for rows such as temper write makes");
  has_teacher = with_teacher;
  if (!with_teacher) return;
  add("train.on-policy", number(&on_policy, "L"),
      "share of the steps whose rows the student writes itself, to learn the teacher's "
      "distribution "
      "over them (0: none, 1: all); such steps have no hard labels");
  add("train.writing-temperature", number(&temperature, "T"),
      "temperature at which the student writes, with train.on-policy");
}

void FreeRunningConfig::validate(int64_t seq) const {
  TORCH_CHECK_VALUE(scheduled_sampling >= 0 && scheduled_sampling <= 1,
                    "--train.scheduled-sampling is ", scheduled_sampling,
                    ": give a probability from 0 to 1");
  TORCH_CHECK_VALUE(on_policy >= 0 && on_policy <= 1, "--train.on-policy is ", on_policy,
                    ": give a share from 0 to 1");
  TORCH_CHECK_VALUE(prompt >= 0 && prompt < seq, "--train.prompt is ", prompt,
                    ": give 1 to train.seq - 1 = ", seq - 1, " tokens, or 0 for a quarter");
  TORCH_CHECK_VALUE(std::isfinite(temperature) && temperature > 0,
                    "--train.writing-temperature is ", temperature,
                    ": a temperature must be a finite number above 0");
  TORCH_CHECK_VALUE(on_policy == 0 || seq >= 2, "--train.on-policy is ", on_policy,
                    " with --train.seq ", seq, ": a row needs a prompt and a token behind it");
  TORCH_CHECK_VALUE(prompt == 0 || completion_only || on_policy > 0 || !has_teacher,
                    "--train.prompt is ", prompt,
                    " without --train.completion-only true or --train.on-policy above 0, where it "
                    "has no effect: give one of these, or --train.prompt 0");
  const double usual = FreeRunningConfig().temperature;
  TORCH_CHECK_VALUE(temperature == usual || on_policy > 0, "--train.writing-temperature is ",
                    temperature,
                    " with --train.on-policy 0, where the student writes nothing: give "
                    "--train.on-policy above 0, or --train.writing-temperature ",
                    usual);
}

void FreeRunningConfig::check_rows(const DataConfig& data) const {
  TORCH_CHECK_VALUE(!completion_only || data.source != "tokens" || data.aligned_rows,
                    "--train.completion-only true with --data.tokens ", data.tokens,
                    ": a row would begin anywhere in a document, and the wrong labels not count; "
                    "give --data.aligned-rows true for a file whose documents all have train.seq "
                    "tokens, such as temper write makes");
}

bool FreeRunningConfig::writes(int64_t step, uint64_t seed) const {
  return on_policy > 0 && uniform({kStepPurpose, seed, static_cast<uint64_t>(step)}) < on_policy;
}

double FreeRunningConfig::mixes(int64_t step, int64_t steps) const {
  return scheduled_sampling * static_cast<double>(step) /
         static_cast<double>(std::max<int64_t>(1, steps - 1));
}

int64_t FreeRunningConfig::prompt_tokens(int64_t seq) const {
  return prompt > 0 ? prompt : std::max<int64_t>(1, seq / 4);
}

Batch write_rows(const Decoder& decoder, Decoding decoding, int64_t prompt, const Batch& given,
                 const DrawPlace& place) {
  const int64_t rows = given.tokens.size(0), seq = given.tokens.size(1);
  PromptBatch batch;
  batch.seed = hash_key({kWritePurpose, place.seed, static_cast<uint64_t>(place.step)});
  batch.first = static_cast<uint64_t>(place.first_row);
  const at::Tensor beginnings = given.tokens.narrow(1, 0, prompt).contiguous();  // (B, P)
  const int64_t* id = beginnings.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row, id += prompt)
    batch.prompts.emplace_back(id, id + prompt);
  decoding.max_new_tokens = seq - prompt;
  decoding.vocab = place.vocab;
  const std::vector<Continuation> texts = generate(decoder, batch, decoding);

  Batch own;
  own.tokens = given.tokens.clone();                             // (B, S)
  own.labels = at::full({rows, seq}, kIgnoredLabel, at::kLong);  // (B, S)
  for (int64_t row = 0; row < rows; ++row) {
    const TokenIds& text = texts[static_cast<size_t>(row)].tokens;
    TORCH_INTERNAL_ASSERT(static_cast<int64_t>(text.size()) == seq - prompt);
    std::copy(text.begin(), text.end(),
              own.tokens.mutable_data_ptr<int64_t>() + row * seq + prompt);
    // Position prompt − 1 predicts the first token that was written.
    std::copy(text.begin(), text.end(),
              own.labels.mutable_data_ptr<int64_t>() + row * seq + prompt - 1);
  }
  return own;
}

Batch write_rows(const Transformer& model, at::ScalarType compute, const FreeRunningConfig& config,
                 const Batch& given, const DrawPlace& place) {
  Decoding decoding;
  decoding.do_sample = config.temperature > 0;
  if (config.temperature > 0) decoding.temperature = config.temperature;
  decoding.top_k = 0;
  return write_rows(Decoder(model, compute), decoding, config.prompt_tokens(given.tokens.size(1)),
                    given, place);
}

Batch mix_rows(const Transformer& model, at::ScalarType compute, double probability,
               const Batch& given, const DrawPlace& place) {
  const at::NoGradGuard no_grad;
  const int64_t rows = given.tokens.size(0), seq = given.tokens.size(1);
  const at::Tensor hidden = model.hidden(given.tokens.to(model.flat_weights().device()), compute)
                                .flatten(0, 1);    // (N, C)
  at::Tensor head = model.head(compute).detach();  // (V, C)
  if (place.vocab > 0) head = head.narrow(0, 0, place.vocab);
  const auto step = static_cast<uint64_t>(place.step);
  const uint64_t predicts = hash_key({kPredictPurpose, place.seed, step});
  const int64_t chunk = logits_chunk(head.size(0));
  std::vector<int64_t> draws;  // the model's own token for the place behind each
  draws.reserve(static_cast<size_t>(rows * seq));
  for (int64_t begin = 0; begin < rows * seq; begin += chunk) {
    const int64_t n = std::min(chunk, rows * seq - begin);
    const at::Tensor logits =
        at::mm(hidden.narrow(0, begin, n), head.t()).to(at::kFloat);  // (n, V)
    std::vector<DrawKey> keys;
    for (int64_t token = begin; token < begin + n; ++token) {
      keys.push_back({predicts, static_cast<uint64_t>(place.first_row + token / seq), 0,
                      static_cast<uint64_t>(token % seq)});
    }
    const std::vector<int64_t> drawn = sample_tokens(logits, keys);
    draws.insert(draws.end(), drawn.begin(), drawn.end());
  }
  Batch mixed = given;
  mixed.tokens = given.tokens.clone();  // (B, S)
  int64_t* token = mixed.tokens.mutable_data_ptr<int64_t>();
  for (int64_t row = 0; row < rows; ++row) {
    const auto number = static_cast<uint64_t>(place.first_row + row);
    for (int64_t i = 1; i < seq; ++i) {
      if (uniform({kMixPurpose, place.seed, step, number, static_cast<uint64_t>(i)}) < probability)
        token[row * seq + i] = draws[static_cast<size_t>(row * seq + i - 1)];
    }
  }
  return mixed;
}

}  // namespace temper
