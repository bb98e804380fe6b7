#include "data/token_stream.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <bit>

#include "data/random.h"

namespace temper {

uint64_t permuted(uint64_t index, uint64_t count, uint64_t key) {
  // The smallest even number of bits that holds all positions: at most four times as many values,
  // so few walks.
  const int half = (std::bit_width(std::max<uint64_t>(count - 1, 1)) + 1) / 2;
  const uint64_t mask = (uint64_t{1} << half) - 1;
  do {
    uint64_t left = index >> half, right = index & mask;
    for (uint64_t round = 0; round < 4; ++round) {
      const uint64_t next = left ^ (hash_key({key, round, right}) & mask);
      left = right;
      right = next;
    }
    index = left << half | right;
  } while (index >= count);
  return index;
}

std::array<int64_t, 3> part_sizes(int64_t total, double fit_share, double test_share) {
  const auto fit = static_cast<int64_t>(static_cast<double>(total) * fit_share);
  const auto test = static_cast<int64_t>(static_cast<double>(total) * test_share);
  return {total - fit - test, fit, test};
}

TokenStream::TokenStream(int64_t vocab, const std::array<int64_t, 3>& part_tokens,
                         bool aligned_rows)
    : vocab_(vocab), aligned_rows_(aligned_rows) {
  int64_t begin = 0;
  for (const Part part : {Part::kTrain, Part::kFit, Part::kTest}) {
    const int64_t end = begin + part_tokens[static_cast<size_t>(part)];
    parts_[static_cast<int>(part)] = {begin, end};
    begin = end;
  }
}

TokenStream::Range TokenStream::range(Part part) const { return parts_[static_cast<int>(part)]; }

int64_t TokenStream::first_token(Part part, int64_t seq) const {
  const int64_t begin = range(part).begin;
  return aligned_rows_ ? (begin + seq - 1) / seq * seq : begin;
}

int64_t TokenStream::rows(Part part, int64_t seq) const {
  if (aligned_rows_) return std::max<int64_t>(0, range(part).end - first_token(part, seq)) / seq;
  const int64_t rows = std::max<int64_t>(0, range(part).size() - 1) / seq;
  // A random phase costs a window, where there is more than one.
  return part == Part::kTrain && rows > 1 ? rows - 1 : rows;
}

Batch TokenStream::read(Part part, uint64_t seed, int64_t first, int64_t count, int64_t seq) const {
  const Range all = range(part);
  const int64_t windows = rows(part, seq);
  TORCH_CHECK_VALUE(windows > 0, "the ", part_name(part), " part has ", all.size(),
                    " tokens, too few for one row of ", seq, " (", describe(), ")");
  TORCH_INTERNAL_ASSERT(part == Part::kTrain || first + count <= windows);
  Batch batch{at::empty({count, seq}, at::kLong),
              at::empty({count, seq}, at::kLong)};  // (B, S) twice
  const int64_t begin = first_token(part, seq);
  std::vector<int64_t> ids(static_cast<size_t>(seq + 1), kIgnoredLabel);
  for (int64_t b = 0; b < count; ++b) {
    int64_t window = first + b, at = begin;
    if (part == Part::kTrain) {
      const auto epoch = static_cast<uint64_t>(window / windows);
      const uint64_t key = hash_key({seed, epoch});
      window = static_cast<int64_t>(
          permuted(static_cast<uint64_t>(window % windows), static_cast<uint64_t>(windows), key));
      if (!aligned_rows_) {
        const int64_t slack = all.size() - 1 - windows * seq;  // what the windows leave over
        at += static_cast<int64_t>(RandomStream{key}.below(static_cast<uint64_t>(slack) + 1));
      }
    }
    copy(at + window * seq, aligned_rows_ ? seq : seq + 1, ids.data());
    std::copy_n(ids.begin(), seq, batch.tokens.mutable_data_ptr<int64_t>() + b * seq);
    std::copy_n(ids.begin() + 1, seq, batch.labels.mutable_data_ptr<int64_t>() + b * seq);
  }
  return batch;
}

std::string TokenStream::describe_parts() const {
  return std::to_string(range(Part::kTrain).size()) + " tokens to train on, " +
         std::to_string(range(Part::kFit).size()) + " to fit, " +
         std::to_string(range(Part::kTest).size()) + " to test";
}

}  // namespace temper
