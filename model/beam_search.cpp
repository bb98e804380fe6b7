// Beam search (length penalty as in arXiv 1609.08144), step for step as _beam_search of
// transformers 5.23, on the same LibTorch operations, so that equal scores are ordered alike. The
// prompts of a batch do not touch each other; what is finished for one waits for the others.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "model/generation.h"

namespace temper {
namespace {

constexpr double kHopeless = -1e9;  // transformers' stand-in for -inf

// In a tensor of (B, n, ...), the entries which (B, k) names.
at::Tensor pick(const at::Tensor& from, at::Tensor which) {
  while (which.dim() < from.dim()) which = which.unsqueeze(-1);
  return at::take_along_dim(from, which, 1);  // (B, k, ...)
}

// B prompts with K beams each; G places for new tokens.
struct Beams {
  at::Tensor tokens;  // (B, K, G) int64
  at::Tensor scores;  // (B, K) float32
  at::Tensor length;  // (B, K) int64: tokens in use
};

class BeamSearch {
 public:
  BeamSearch(const Decoder& decoder, const PromptBatch& batch, const Decoding& decoding)
      : decoder_(decoder),
        batch_(batch),
        decoding_(decoding),
        prompts_(static_cast<int64_t>(batch.prompts.size())),
        beams_(decoding.num_beams),
        kept_(std::max<int64_t>(2, 1 + static_cast<int64_t>(decoding.eos_token_id.size())) *
              beams_) {
    const int64_t vocab = decoder.config().vocab;
    TORCH_CHECK_VALUE(kept_ <= beams_ * vocab && beams_ <= vocab, "--generate.beams is ", beams_,
                      ", more than the model's vocabulary of ", vocab, " can fill");
    longest_prompt_ = 0;
    for (const TokenIds& prompt : batch.prompts) {
      longest_prompt_ = std::max(longest_prompt_, static_cast<int64_t>(prompt.size()));
    }
    // All prompts of a batch take the same number of new tokens: the padded length counts, as
    // there.
    room_ = std::min(decoding.new_tokens(longest_prompt_),
                     decoder.config().positions - longest_prompt_);
  }

  std::vector<Continuation> run();

 private:
  at::Tensor log_probabilities(const at::Tensor& logits, int64_t step) const;
  at::Tensor ends(const at::Tensor& tokens, int64_t step) const;
  void update_finished(const Beams& candidates, const at::Tensor& hits, int64_t step);
  void update_hope(int64_t step);
  std::vector<Continuation> results() const;

  const Decoder& decoder_;
  const PromptBatch& batch_;
  const Decoding& decoding_;
  const int64_t prompts_, beams_, kept_;  // B, K, and the candidates of a step
  int64_t longest_prompt_, room_;         // room_ is G
  Beams running_, finished_;
  at::Tensor is_finished_;  // (B, K) bool: this place of finished_ is taken
  at::Tensor hopeful_;      // (B, 1) bool: a running beam may still beat a finished one
};

at::Tensor BeamSearch::log_probabilities(const at::Tensor& logits, int64_t step) const {
  at::Tensor scores = at::log_softmax(logits.to(at::kCPU), -1);  // (B·K, V)
  if (!processes_logits(decoding_)) return scores;
  std::vector<TokenIds> texts;
  const int64_t* tokens = running_.tokens.const_data_ptr<int64_t>();
  for (int64_t row = 0; row < prompts_ * beams_; ++row) {
    texts.push_back(batch_.prompts[static_cast<size_t>(row / beams_)]);
    texts.back().insert(texts.back().end(), tokens + row * room_, tokens + row * room_ + step);
  }
  process_logits(scores, texts, step, decoding_);
  return scores;
}

// Which candidates end with their token of this step: by the model's wish, or for want of room.
at::Tensor BeamSearch::ends(const at::Tensor& tokens, int64_t step) const {
  if (step + 1 >= room_) return at::ones_like(tokens, at::kBool);  // (B, kept)
  at::Tensor hits = at::zeros_like(tokens, at::kBool);             // (B, kept)
  for (const int64_t id : decoding_.eos_token_id) hits.logical_or_(tokens == id);
  return hits;
}

// Ended candidates against those that ended before; the best K stay. Only the best K candidates of
// a step may end: the others are there so that K remain to go on.
void BeamSearch::update_finished(const Beams& candidates, const at::Tensor& hits, int64_t step) {
  const at::Tensor leading = at::arange(kept_) < beams_;  // (kept)
  const at::Tensor ended = hits & leading;                // (B, kept)
  at::Tensor scores = candidates.scores / std::pow(static_cast<double>(step + 1),
                                                   decoding_.length_penalty);  // (B, kept)
  if (decoding_.early_stopping == EarlyStopping::kTrue) {
    scores = scores + is_finished_.all(-1, /*keepdim=*/true).to(at::kFloat) * kHopeless;
  }
  scores = scores + hopeful_.logical_not().to(at::kFloat) * kHopeless;
  scores = scores + ended.logical_not().to(at::kFloat) * kHopeless;

  const at::Tensor merged = at::cat({finished_.scores, scores}, 1);  // (B, K + kept)
  const at::Tensor best = std::get<1>(at::topk(merged, beams_));     // (B, K)
  finished_.tokens = pick(at::cat({finished_.tokens, candidates.tokens}, 1), best);
  finished_.scores = pick(merged, best);
  finished_.length = pick(at::cat({finished_.length, candidates.length}, 1), best);
  is_finished_ = pick(at::cat({is_finished_, ended}, 1), best);
}

// Whether the best running beam may still beat the worst finished one, given the `step` tokens that
// it has now.
void BeamSearch::update_hope(int64_t step) {
  const bool far =
      decoding_.early_stopping == EarlyStopping::kNever && decoding_.length_penalty > 0;
  const double length = static_cast<double>(far ? room_ : step);
  const at::Tensor best =
      running_.scores.narrow(1, 0, 1) / std::pow(length, decoding_.length_penalty);  // (B, 1)
  const at::Tensor worst = at::where(is_finished_, finished_.scores.amin(1, true),
                                     at::full({}, kHopeless, at::kFloat));  // (B, K)
  hopeful_ = hopeful_ & (best > worst).any(-1, /*keepdim=*/true);           // (B, 1)
}

std::vector<Continuation> BeamSearch::run() {
  const int64_t copies = decoding_.num_return_sequences;
  if (room_ == 0) return std::vector<Continuation>(static_cast<size_t>(prompts_ * copies));
  running_ = {at::zeros({prompts_, beams_, room_}, at::kLong),  // (B, K, G)
              at::full({prompts_, beams_}, kHopeless, at::kFloat),
              at::zeros({prompts_, beams_}, at::kLong)};
  running_.scores.select(1, 0).zero_();  // at first all beams are equal: one of them counts
  finished_ = {running_.tokens.clone(), at::full({prompts_, beams_}, kHopeless, at::kFloat),
               running_.length.clone()};
  is_finished_ = at::zeros({prompts_, beams_}, at::kBool);
  hopeful_ = at::ones({prompts_, 1}, at::kBool);

  std::vector<int64_t> padding;
  const at::Tensor prompts = padded_prompts(batch_.prompts, &padding);  // (B, S)
  KvCache cache = decoder_.make_cache(padding, longest_prompt_ + std::min<int64_t>(room_, 4096));
  at::Tensor logits = decoder_.next_logits(prompts, cache);                             // (B, V)
  const at::Tensor spread = at::arange(prompts_, at::kLong).repeat_interleave(beams_);  // (B·K)
  cache.select_rows(spread);
  logits = logits.index_select(0, spread.to(logits.device()));                         // (B·K, V)
  const at::Tensor offsets = (at::arange(prompts_, at::kLong) * beams_).unsqueeze(1);  // (B, 1)

  for (int64_t step = 0;; ++step) {
    const at::Tensor scores = log_probabilities(logits, step);  // (B·K, V)
    const int64_t vocab = scores.size(1);
    const at::Tensor all = (scores.view({prompts_, beams_, vocab}) + running_.scores.unsqueeze(-1))
                               .view({prompts_, beams_ * vocab});  // (B, K·V)
    const auto [best, place] = at::topk(all, kept_);               // (B, kept) each
    const at::Tensor beam = at::floor_divide(place, vocab);        // (B, kept)
    const at::Tensor token = place - beam * vocab;                 // (B, kept)
    Beams candidates = {pick(running_.tokens, beam), best, at::full_like(place, step + 1)};
    candidates.tokens.select(2, step).copy_(token);
    const at::Tensor hits = ends(token, step);  // (B, kept)

    const at::Tensor going = best + hits.to(at::kFloat) * kHopeless;  // (B, kept)
    const at::Tensor chosen = std::get<1>(at::topk(going, beams_));   // (B, K)
    running_ = {pick(candidates.tokens, chosen), pick(going, chosen),
                pick(candidates.length, chosen)};
    update_finished(candidates, hits, step);
    update_hope(step + 1);

    const bool full =
        decoding_.early_stopping == EarlyStopping::kTrue && is_finished_.all().item<bool>();
    if (!hopeful_.any().item<bool>() || full || hits.all().item<bool>()) return results();
    // The beams of a prompt share the prompt's columns: only what came after is reordered.
    cache.select_rows((pick(beam, chosen) + offsets).view({-1}), longest_prompt_);
    logits =
        decoder_.next_logits(running_.tokens.select(2, step).reshape({-1, 1}), cache);  // (B·K, V)
  }
}

std::vector<Continuation> BeamSearch::results() const {
  std::vector<Continuation> all;
  for (int64_t prompt = 0; prompt < prompts_; ++prompt) {
    for (int64_t copy = 0; copy < decoding_.num_return_sequences; ++copy) {
      const at::Tensor row = finished_.tokens[prompt][copy];  // (G)
      const auto length = finished_.length[prompt][copy].item<int64_t>();
      const int64_t* ids = row.const_data_ptr<int64_t>();
      Continuation continuation;
      continuation.tokens.assign(ids, ids + length);
      continuation.score = finished_.scores[prompt][copy].item<double>();
      const std::vector<int64_t>& ends = decoding_.eos_token_id;
      const bool ended =
          length > 0 && std::find(ends.begin(), ends.end(), ids[length - 1]) != ends.end();
      continuation.finish = ended ? Finish::kEnd : Finish::kLength;
      all.push_back(std::move(continuation));
    }
  }
  return all;
}

}  // namespace

std::vector<Continuation> beam_search(const Decoder& decoder, const PromptBatch& batch,
                                      const Decoding& decoding) {
  return BeamSearch(decoder, batch, decoding).run();
}

}  // namespace temper
