#include "data/byte_pair_merges.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <bit>
#include <cstring>

namespace temper {

namespace {

constexpr uint32_t kNone = UINT32_MAX;
constexpr uint64_t kEmpty = UINT64_MAX;
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15ULL;
constexpr size_t kLongestShort = 96;
constexpr size_t kLongestWord = size_t{1} << 30;

uint64_t key_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

MergeWorkspace::MergeWorkspace() : cache_(kSlots) {}

BytePairMerges::BytePairMerges(const std::array<int32_t, 256>& byte_ids,
                               const std::vector<Merge>& merges,
                               std::unordered_map<std::string, int32_t> whole_words)
    : byte_ids_(byte_ids), whole_words_(std::move(whole_words)) {
  const size_t slots = std::bit_ceil(std::max<size_t>(merges.size() * 3 / 2, 16));
  slots_.assign(slots, {kEmpty, {kNone, -1}});
  shift_ = 64 - std::countr_zero(slots);
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t key = key_of(merges[rank].left, merges[rank].right);
    slots_[slot_of(key)] = {key, {static_cast<uint32_t>(rank), merges[rank].merged}};
  }
}

size_t BytePairMerges::slot_of(uint64_t key) const {
  size_t slot = (key ^ key >> 29) * kOdd >> shift_;
  while (slots_[slot].key != key && slots_[slot].key != kEmpty)
    slot = (slot + 1) & (slots_.size() - 1);
  return slot;
}

BytePairMerges::Pair BytePairMerges::find(int32_t left, int32_t right) const {
  return slots_[slot_of(key_of(left, right))].pair;
}

void BytePairMerges::encode(std::string_view word, MergeWorkspace& workspace,
                            std::vector<int32_t>& ids) const {
  if (word.size() == 1) {
    ids.push_back(byte_ids_[static_cast<unsigned char>(word[0])]);
    return;
  }
  if (word.size() > MergeWorkspace::kKeyBytes) {
    merge(word, workspace);
    ids.insert(ids.end(), workspace.ids_.begin(), workspace.ids_.end());
    return;
  }
  std::array<uint64_t, MergeWorkspace::kKeyBytes / 8> key{};
  std::memcpy(key.data(), word.data(), word.size());
  uint64_t hash = word.size();
  for (const uint64_t part : key) hash = (hash ^ part ^ part >> 32) * kOdd;
  MergeWorkspace::Slot& slot = workspace.cache_[(hash ^ hash >> 32) % MergeWorkspace::kSlots];
  if (slot.key_bytes == word.size() && slot.key == key) {
    ids.insert(ids.end(), slot.id.begin(), slot.id.begin() + slot.ids);
    return;
  }
  merge(word, workspace);
  const std::vector<int32_t>& found = workspace.ids_;
  ids.insert(ids.end(), found.begin(), found.end());
  if (found.size() > MergeWorkspace::kIds) return;
  slot.key = key;
  slot.key_bytes = static_cast<uint8_t>(word.size());
  slot.ids = static_cast<uint8_t>(found.size());
  std::copy(found.begin(), found.end(), slot.id.begin());
}

void BytePairMerges::merge(std::string_view word, MergeWorkspace& workspace) const {
  if (!whole_words_.empty()) {
    workspace.word_ = word;
    const auto found = whole_words_.find(workspace.word_);
    if (found != whole_words_.end()) {
      workspace.ids_ = {found->second};
      return;
    }
  }
  word.size() <= kLongestShort ? merge_short(word, workspace) : merge_long(word, workspace);
}

void BytePairMerges::merge_short(std::string_view word, MergeWorkspace& workspace) const {
  std::vector<int32_t>& ids = workspace.ids_;
  std::vector<Pair>& pairs = workspace.pairs_;  // pairs[i] joins ids[i] and ids[i + 1]
  ids.clear();
  pairs.clear();
  for (const char byte : word) {
    ids.push_back(byte_ids_[static_cast<unsigned char>(byte)]);
    if (ids.size() > 1) pairs.push_back(find(ids[ids.size() - 2], ids.back()));
  }
  while (!pairs.empty()) {
    const auto best = std::min_element(
        pairs.begin(), pairs.end(), [](const Pair& a, const Pair& b) { return a.rank < b.rank; });
    if (best->rank == kNone) return;
    const auto at = static_cast<size_t>(best - pairs.begin());
    ids[at] = best->merged;
    ids.erase(ids.begin() + static_cast<ptrdiff_t>(at) + 1);
    pairs.erase(best);
    if (at > 0) pairs[at - 1] = find(ids[at - 1], ids[at]);
    if (at < pairs.size()) pairs[at] = find(ids[at], ids[at + 1]);
  }
}

void BytePairMerges::merge_long(std::string_view word, MergeWorkspace& workspace) const {
  TORCH_CHECK_VALUE(word.size() <= kLongestWord, "a word of ", word.size(),
                    " bytes: the pre-tokenizer cuts this text nowhere, and words end at ",
                    kLongestWord, " bytes; split the text into documents");
  std::vector<MergeWorkspace::Symbol>& symbols = workspace.symbols_;
  std::vector<MergeWorkspace::Candidate>& heap = workspace.heap_;
  const auto count = static_cast<int32_t>(word.size());
  symbols.resize(word.size());
  for (int32_t i = 0; i < count; ++i) {
    const auto byte = static_cast<unsigned char>(word[static_cast<size_t>(i)]);
    symbols[static_cast<size_t>(i)] = {byte_ids_[byte], i - 1, i + 1 < count ? i + 1 : -1};
  }
  const auto at = [&](int32_t i) -> MergeWorkspace::Symbol& {
    return symbols[static_cast<size_t>(i)];
  };
  const auto offer = [&](int32_t left) {
    if (left < 0 || at(left).after < 0) return;
    const Pair pair = find(at(left).id, at(at(left).after).id);
    if (pair.rank != kNone) {
      heap.push_back({pair.rank, left, pair.merged});
    }
  };
  heap.clear();
  for (int32_t i = 0; i + 1 < count; ++i) offer(i);
  std::make_heap(heap.begin(), heap.end());
  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end());
    const MergeWorkspace::Candidate best = heap.back();
    heap.pop_back();
    MergeWorkspace::Symbol& left = at(best.at);
    // What has grown since then stands for more bytes, and has another candidate by now.
    if (left.id < 0 || left.after < 0) continue;
    MergeWorkspace::Symbol& right = at(left.after);
    if (find(left.id, right.id).rank != best.rank) continue;
    left.id = best.merged;
    left.after = right.after;
    if (right.after >= 0) at(right.after).before = best.at;
    right.id = -1;
    for (const int32_t changed : {left.before, best.at}) {
      const size_t before = heap.size();
      offer(changed);
      if (heap.size() > before) std::push_heap(heap.begin(), heap.end());
    }
  }
  workspace.ids_.clear();
  for (int32_t i = 0; i >= 0; i = at(i).after) workspace.ids_.push_back(at(i).id);
  // One huge word must not hold its memory for ever.
  if (word.size() > (1 << 20)) {
    symbols = {};
    heap = {};
  }
}

}  // namespace temper
