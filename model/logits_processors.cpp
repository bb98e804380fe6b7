#include "model/logits_processors.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>

namespace temper {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

void check(const at::Tensor& scores) {
  TORCH_INTERNAL_ASSERT(scores.dim() == 2 && scores.scalar_type() == at::kFloat &&
                        scores.is_contiguous());
}

at::Tensor index_of(const TokenIds& ids, const at::Tensor& like) {
  return at::tensor(ids, at::kLong).to(like.device());  // (ids)
}

}  // namespace

void penalize_repetition(const at::Tensor& scores, const std::vector<TokenIds>& texts,
                         double penalty) {
  check(scores);
  for (int64_t row = 0; row < scores.size(0); ++row) {
    const at::Tensor index = index_of(texts[static_cast<size_t>(row)], scores);  // (text)
    const at::Tensor line = scores.select(0, row);                               // (V)
    const at::Tensor found = line.index_select(0, index);                        // (text)
    // A token that stands twice is written twice, with the same value.
    line.index_copy_(0, index, at::where(found < 0, found * penalty, found / penalty));
  }
}

void forbid_repeated_ngrams(const at::Tensor& scores, const std::vector<TokenIds>& texts,
                            int64_t size) {
  check(scores);
  for (int64_t row = 0; row < scores.size(0); ++row) {
    const TokenIds& text = texts[static_cast<size_t>(row)];
    if (static_cast<int64_t>(text.size()) < size) continue;
    const auto beginning = text.end() - (size - 1);  // of the n-gram that the next token completes
    TokenIds banned;
    for (auto at = text.begin(); text.end() - at >= size; ++at) {
      if (std::equal(beginning, text.end(), at)) banned.push_back(at[size - 1]);
    }
    if (!banned.empty()) scores.select(0, row).index_fill_(0, index_of(banned, scores), kNever);
  }
}

void forbid_tokens(const at::Tensor& scores, const std::vector<int64_t>& tokens) {
  check(scores);
  TokenIds known;
  for (const int64_t token : tokens) {
    if (token >= 0 && token < scores.size(1)) known.push_back(token);
  }
  if (!known.empty()) scores.index_fill_(1, index_of(known, scores), kNever);
}

void divide_by_temperature(const at::Tensor& scores, double temperature) {
  check(scores);
  scores.div_(temperature);
}

void keep_top_k(const at::Tensor& scores, int64_t k) {
  check(scores);
  const at::Tensor best =
      std::get<0>(at::topk(scores, std::min(k, scores.size(1))));  // (R, k), descending
  scores.masked_fill_(scores < best.narrow(1, best.size(1) - 1, 1), kNever);
}

void keep_top_p(const at::Tensor& scores, double p) {
  check(scores);
  const auto [sorted, order] = at::sort(scores, /*dim=*/-1, /*descending=*/false);  // (R, V) each
  const at::Tensor mass = at::softmax(sorted, -1).cumsum(-1);                       // (R, V)
  const at::Tensor unlikely = mass <= 1.0 - p;                                      // (R, V)
  unlikely.narrow(1, scores.size(1) - 1, 1).fill_(false);
  scores.masked_fill_(unlikely.scatter(1, order, unlikely), kNever);
}

void keep_min_p(const at::Tensor& scores, double p) {
  check(scores);
  const at::Tensor chances = at::softmax(scores, -1);               // (R, V)
  const at::Tensor limit = chances.amax(-1, /*keepdim=*/true) * p;  // (R, 1)
  scores.masked_fill_(chances < limit, kNever);
}

void forbid_padding(const at::Tensor& scores, int64_t vocab) {
  check(scores);
  if (vocab < scores.size(1)) scores.narrow(1, vocab, scores.size(1) - vocab).fill_(kNever);
}

void process_logits(const at::Tensor& scores, const std::vector<TokenIds>& texts,
                    int64_t new_tokens, const Decoding& decoding) {
  if (decoding.vocab > 0) forbid_padding(scores, decoding.vocab);
  if (decoding.repetition_penalty != 1.0) {
    penalize_repetition(scores, texts, decoding.repetition_penalty);
  }
  if (decoding.no_repeat_ngram_size > 0) {
    forbid_repeated_ngrams(scores, texts, decoding.no_repeat_ngram_size);
  }
  if (new_tokens < decoding.min_new_tokens) forbid_tokens(scores, decoding.eos_token_id);
  if (decoding.min_length > 0) {
    for (size_t row = 0; row < texts.size(); ++row) {
      if (static_cast<int64_t>(texts[row].size()) < decoding.min_length) {
        forbid_tokens(scores.narrow(0, static_cast<int64_t>(row), 1), decoding.eos_token_id);
      }
    }
  }
  if (!decoding.do_sample) return;
  if (decoding.temperature != 1.0) divide_by_temperature(scores, decoding.temperature);
  if (decoding.top_k > 0) keep_top_k(scores, decoding.top_k);
  if (decoding.top_p < 1.0) keep_top_p(scores, decoding.top_p);
  if (decoding.min_p > 0.0) keep_min_p(scores, decoding.min_p);
}

bool processes_logits(const Decoding& decoding) {
  return decoding.repetition_penalty != 1.0 || decoding.no_repeat_ngram_size > 0 ||
         decoding.min_new_tokens > 0 || decoding.min_length > 0 || decoding.do_sample ||
         decoding.vocab > 0;
}

}  // namespace temper
