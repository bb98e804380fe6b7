// Byte-pair encoding of one word (Sennrich, Haddow and Birch 2016, arXiv 1508.07909): of all
// neighbours that some merge joins, the merge that was learnt first is done first, the leftmost
// where it applies more than once, until none applies. Words are short, so that a scan for the best
// merge beats a heap; long ones (a line of base64, Chinese without spaces) take a heap, or their
// time would grow with the square of their length. Words that come again are found in a cache of
// fixed size.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace temper {

/// What one thread needs to encode words; kept between calls, so that nothing is allocated a word.
class MergeWorkspace {
 public:
  MergeWorkspace();

 private:
  friend class BytePairMerges;
  static constexpr size_t kKeyBytes = 24;
  static constexpr size_t kIds = 8;
  static constexpr size_t kSlots = 1 << 15;
  /// One word; a word whose hash leads to the same slot takes its place.
  struct Slot {
    std::array<uint64_t, kKeyBytes / 8> key;  // padded with zeros
    uint8_t key_bytes;                        // 0: empty
    uint8_t ids;
    std::array<int32_t, kIds> id;
  };
  struct Pair {
    uint32_t rank;
    int32_t merged;
  };
  struct Symbol {
    int32_t id;  // -1: taken up by its left neighbour
    int32_t before, after;
  };
  struct Candidate {
    uint32_t rank;
    int32_t at;
    int32_t merged;
    bool operator<(const Candidate& other) const {  // the heap's top is the largest
      return rank != other.rank ? rank > other.rank : at > other.at;
    }
  };
  std::vector<Slot> cache_;
  std::string word_;
  std::vector<int32_t> ids_;
  std::vector<Pair> pairs_;
  std::vector<Symbol> symbols_;
  std::vector<Candidate> heap_;
};

class BytePairMerges {
 public:
  /// `left` and `right` become `merged`.
  struct Merge {
    int32_t left, right, merged;
  };
  /// `byte_ids` are the tokens of single bytes (-1 where a byte has none; such bytes must not
  /// come); `merges` in the order in which they were learnt. Where a pair stands twice the later
  /// place counts, as in Hugging Face's `tokenizers`. A word that stands in `whole_words` is that
  /// one token, whatever the merges say (`ignore_merges`).
  BytePairMerges(const std::array<int32_t, 256>& byte_ids, const std::vector<Merge>& merges,
                 std::unordered_map<std::string, int32_t> whole_words);

  /// Appends the ids of `word`. `workspace` must have served no other merges.
  void encode(std::string_view word, MergeWorkspace& workspace, std::vector<int32_t>& ids) const;

 private:
  using Pair = MergeWorkspace::Pair;
  struct Slot {
    uint64_t key;
    Pair pair;
  };
  Pair find(int32_t left, int32_t right) const;
  size_t slot_of(uint64_t key) const;
  // The ids of `word`, into workspace.ids_.
  void merge(std::string_view word, MergeWorkspace& workspace) const;
  void merge_short(std::string_view word, MergeWorkspace& workspace) const;
  void merge_long(std::string_view word, MergeWorkspace& workspace) const;

  std::array<int32_t, 256> byte_ids_;
  std::vector<Slot> slots_;  // open addressing, a power of two
  int shift_;
  std::unordered_map<std::string, int32_t> whole_words_;
};

}  // namespace temper
