// Greedy decoding and sampling. Finished rows leave the batch at once.
#include "model/generation.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/sampler.h"

namespace temper {
namespace {

// A text that still grows.
struct Running {
  size_t text;
  uint64_t prompt;
  TokenIds ids;
  int64_t left;  // tokens that may still come
};

void check_prompts(const TransformerConfig& model, const PromptBatch& batch) {
  for (size_t i = 0; i < batch.prompts.size(); ++i) {
    const TokenIds& prompt = batch.prompts[i];
    const uint64_t number = batch.first + i + 1;
    TORCH_CHECK_VALUE(!prompt.empty(), "prompt ", number, " has no tokens");
    TORCH_CHECK_VALUE(static_cast<int64_t>(prompt.size()) < model.positions, "prompt ", number,
                      " has ", prompt.size(), " tokens, but the model only ", model.positions,
                      " positions; shorten it");
    for (const int64_t id : prompt) {
      TORCH_CHECK_VALUE(id >= 0 && id < model.vocab, "prompt ", number, " holds the token id ", id,
                        ", but the model's vocabulary has only ", model.vocab,
                        "; take the model's own tokenizer (--generate.tokenizer)");
    }
  }
}

at::Tensor last_tokens(const std::vector<Running>& running) {
  std::vector<int64_t> ids;
  for (const Running& text : running) ids.push_back(text.ids.back());
  return at::tensor(ids, at::kLong).unsqueeze(1);  // (R, 1)
}

std::vector<TokenIds> texts_of(const std::vector<Running>& running) {
  std::vector<TokenIds> texts;
  for (const Running& text : running) texts.push_back(text.ids);
  return texts;
}

}  // namespace

const char* finish_name(Finish finish) {
  return finish == Finish::kEnd ? "end" : finish == Finish::kStop ? "stop" : "length";
}

at::Tensor padded_prompts(const std::vector<TokenIds>& prompts, std::vector<int64_t>* padding) {
  size_t longest = 0;
  for (const TokenIds& prompt : prompts) longest = std::max(longest, prompt.size());
  at::Tensor tokens = at::zeros(
      {static_cast<int64_t>(prompts.size()), static_cast<int64_t>(longest)}, at::kLong);  // (B, S)
  padding->clear();
  for (size_t row = 0; row < prompts.size(); ++row) {
    const size_t skipped = longest - prompts[row].size();
    padding->push_back(static_cast<int64_t>(skipped));
    std::copy(prompts[row].begin(), prompts[row].end(),
              tokens.mutable_data_ptr<int64_t>() + row * longest + skipped);
  }
  return tokens;
}

std::vector<Continuation> generate(const Decoder& decoder, const PromptBatch& batch,
                                   const Decoding& decoding, const OnToken& on_token) {
  const c10::InferenceMode inference;
  check_prompts(decoder.config(), batch);
  if (batch.prompts.empty()) return {};
  if (decoding.num_beams > 1) return beam_search(decoder, batch, decoding);

  const auto copies = static_cast<size_t>(decoding.num_return_sequences);
  std::vector<Continuation> result(batch.prompts.size() * copies);
  std::vector<Running> running;
  std::vector<int64_t> repeats;
  int64_t most = 0;
  for (size_t row = 0; row < batch.prompts.size(); ++row) {
    const auto length = static_cast<int64_t>(batch.prompts[row].size());
    const int64_t left = std::min(decoding.new_tokens(length), decoder.config().positions - length);
    for (size_t copy = 0; copy < copies && left > 0; ++copy) {
      running.push_back({row * copies + copy, batch.first + row, batch.prompts[row], left});
      repeats.push_back(static_cast<int64_t>(row));
    }
    most = std::max(most, left);
  }
  if (most == 0) return result;

  std::vector<int64_t> padding;
  const at::Tensor prompts = padded_prompts(batch.prompts, &padding);  // (B, S)
  KvCache cache = decoder.make_cache(padding, prompts.size(1) + std::min<int64_t>(most, 4096));
  at::Tensor scores = decoder.next_logits(prompts, cache);  // (B, V)
  if (copies > 1 || running.size() < batch.prompts.size()) {
    const at::Tensor rows = at::tensor(repeats, at::kLong);  // (R)
    cache.select_rows(rows);
    scores = scores.index_select(0, rows.to(scores.device()));  // (R, V)
  }
  const bool processes = processes_logits(decoding);
  for (int64_t step = 0;; ++step) {
    if (processes) process_logits(scores, texts_of(running), step, decoding);
    std::vector<int64_t> chosen;
    if (decoding.do_sample) {
      std::vector<DrawKey> keys;
      for (const Running& text : running) {
        keys.push_back({batch.seed, text.prompt, text.text % copies, static_cast<uint64_t>(step)});
      }
      chosen = sample_tokens(scores, keys);
    } else {
      chosen = likeliest_tokens(scores);
    }

    std::vector<int64_t> staying;
    std::vector<Running> next;
    for (size_t row = 0; row < running.size(); ++row) {
      Running& text = running[row];
      Continuation& continuation = result[text.text];
      const int64_t token = chosen[row];
      text.ids.push_back(token);
      continuation.tokens.push_back(token);
      const std::vector<int64_t>& ends = decoding.eos_token_id;
      const bool ended = std::find(ends.begin(), ends.end(), token) != ends.end();
      const bool stopped = on_token && on_token(text.text, token);
      if (ended || stopped || --text.left == 0) {
        continuation.finish = ended ? Finish::kEnd : stopped ? Finish::kStop : Finish::kLength;
        continue;
      }
      staying.push_back(static_cast<int64_t>(row));
      next.push_back(std::move(text));
    }
    if (next.empty()) return result;
    if (next.size() < running.size()) cache.select_rows(at::tensor(staying, at::kLong));
    running = std::move(next);
    scores = decoder.next_logits(last_tokens(running), cache);  // (R, V)
  }
}

}  // namespace temper
