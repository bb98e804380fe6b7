#include "data/builtin_language.h"

#include <ATen/ATen.h>

#include <cmath>
#include <limits>

#include "data/fingerprint.h"

namespace temper {

namespace {

// A stream of its own for the estimate of the entropy rate, beside those of the three parts.
constexpr uint64_t kEntropyStream = 3;
constexpr int64_t kEntropyRows = 512;
constexpr int64_t kEntropySeq = 256;

}  // namespace

BuiltinLanguage::BuiltinLanguage(const LanguageShape& shape, uint64_t language_seed)
    : process_(shape, language_seed),
      symbols_(at::tensor(process_.symbol_given(), at::kDouble)
                   .view({process_.shape().vocab, process_.states()})),
      language_seed_(language_seed) {}

int64_t BuiltinLanguage::rows(Part part, int64_t seq) const {
  return part == Part::kTrain ? std::numeric_limits<int64_t>::max() : kHeldOutTokens / seq;
}

std::vector<int32_t> BuiltinLanguage::row(Part part, uint64_t seed, int64_t index,
                                          int64_t length) const {
  const uint64_t run = part == Part::kTrain ? seed : 0;
  RandomStream random{language_seed_, static_cast<uint64_t>(part), run,
                      static_cast<uint64_t>(index)};
  std::vector<int32_t> tokens;
  while (static_cast<int64_t>(tokens.size()) < length) process_.append_document(random, tokens);
  tokens.resize(static_cast<size_t>(length));
  return tokens;
}

Batch BuiltinLanguage::read(Part part, uint64_t seed, int64_t first, int64_t count,
                            int64_t seq) const {
  Batch batch{at::empty({count, seq}, at::kLong),
              at::empty({count, seq}, at::kLong)};  // (B, S) twice
  int64_t* tokens = batch.tokens.mutable_data_ptr<int64_t>();
  int64_t* labels = batch.labels.mutable_data_ptr<int64_t>();
  for (int64_t b = 0; b < count; ++b) {
    const std::vector<int32_t> ids = row(part, seed, first + b, seq + 1);
    for (int64_t s = 0; s < seq; ++s) {
      const int32_t next = ids[static_cast<size_t>(s + 1)];
      tokens[b * seq + s] = ids[static_cast<size_t>(s)];
      labels[b * seq + s] = next == LanguageProcess::kStart ? kIgnoredLabel : next;
    }
  }
  return batch;
}

std::string BuiltinLanguage::describe() const {
  return "built-in language " + std::to_string(language_seed_) + ", vocabulary " +
         std::to_string(vocab()) + ", training rows on demand, " + std::to_string(kHeldOutTokens) +
         " tokens each to fit and to test on";
}

uint64_t BuiltinLanguage::fingerprint() const {
  return Fingerprint().add(process_.fingerprint()).add(language_seed_).value();
}

at::Tensor BuiltinLanguage::true_log_probs(const Batch& batch) const {
  const at::Tensor tokens = batch.tokens.contiguous(),
                   labels = batch.labels.contiguous();         // (B, S)
  at::Tensor result = at::zeros(tokens.sizes(), at::kDouble);  // (B, S)
  const int64_t seq = tokens.size(1);
  LanguageFilter filter(process_);
  for (int64_t b = 0; b < tokens.size(0); ++b) {
    const int64_t* x = tokens.const_data_ptr<int64_t>() + b * seq;
    const int64_t* y = labels.const_data_ptr<int64_t>() + b * seq;
    double* out = result.mutable_data_ptr<double>() + b * seq;
    for (int64_t s = 0; s < seq; ++s) {
      if (x[s] == LanguageProcess::kStart) filter.start();
      if (y[s] != kIgnoredLabel) out[s] = std::log(filter.observe(static_cast<int32_t>(y[s])));
    }
  }
  return result;
}

at::Tensor BuiltinLanguage::true_distribution(const at::Tensor& tokens, int64_t first,
                                              int64_t count) const {
  const at::Tensor ids = tokens.contiguous();  // (S)
  const int64_t* id = ids.const_data_ptr<int64_t>();
  const int64_t states = process_.states();
  at::Tensor weights = at::empty({count, states}, at::kDouble);  // (S', Z·K)
  std::vector<std::vector<LanguageFilter::Echo>> echoes(static_cast<size_t>(count));
  LanguageFilter filter(process_);
  for (int64_t s = 0; s < first + count; ++s) {
    if (id[s] == LanguageProcess::kStart) {
      filter.start();
    } else {
      filter.observe(static_cast<int32_t>(id[s]));
    }
    if (s < first) continue;
    echoes[static_cast<size_t>(s - first)] =
        filter.mixture(weights.mutable_data_ptr<double>() + (s - first) * states);
  }
  at::Tensor result = at::mm(weights, symbols_.t());  // (S', V)
  for (int64_t s = 0; s < count; ++s) {
    double* row = result.mutable_data_ptr<double>() + s * vocab();
    for (const LanguageFilter::Echo& echo : echoes[static_cast<size_t>(s)])
      row[echo.token] += echo.mass;
  }
  return result;
}

std::optional<EntropyRate> BuiltinLanguage::entropy_rate() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (!entropy_rate_) {
    double sum = 0, squares = 0, labels = 0;
    for (int64_t r = 0; r < kEntropyRows; ++r) {
      RandomStream random{language_seed_, kEntropyStream, static_cast<uint64_t>(r)};
      std::vector<int32_t> tokens;
      while (static_cast<int64_t>(tokens.size()) < kEntropySeq)
        process_.append_document(random, tokens);
      LanguageFilter filter(process_);
      double nats = 0, count = 0;
      for (int64_t s = 0; s < kEntropySeq; ++s) {
        const int32_t token = tokens[static_cast<size_t>(s)];
        if (token == LanguageProcess::kStart) {
          filter.start();
        } else {
          nats -= std::log(filter.observe(token));
          count += 1;
        }
      }
      sum += nats;
      labels += count;
      squares += nats / count * (nats / count);
    }
    const double rows = static_cast<double>(kEntropyRows), mean = sum / labels;
    entropy_rate_ =
        EntropyRate{mean, std::sqrt(std::max(0.0, squares / rows - mean * mean) / (rows - 1))};
  }
  return entropy_rate_;
}

}  // namespace temper
