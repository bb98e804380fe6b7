// Note [Rounds]
// ~~~~~~~~~~~~~
// The owner of a part receives that part from every other member beside its own and then adds. So
// that this does not take as much memory again as the tensor, a sum goes in rounds: a piece of each
// part at a time. Every member knows all parts and walks through them in the same order, and
// messages of a pair do not overtake each other: one tag for the terms and one for the results are
// enough, even where one member is a round ahead.

#include "comm/mpi/exchange.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "comm/ordered_sum.h"

namespace temper {
namespace {

constexpr int kTermTag = 1, kResultTag = 2;
constexpr int64_t kRoundBytes = int64_t{16} << 20;  // of the tensor

}  // namespace

Exchange::Exchange(Communicator members, std::vector<std::vector<int>> held, int group_size)
    : members_(std::move(members)), held_(std::move(held)), group_size_(group_size) {}

void Exchange::start(Collective kind, const at::Tensor& flat) {
  flat_ = flat;
  const int64_t n = flat.numel();
  parts_.clear();
  for (int owner = 0; owner < members_.size(); ++owner) {
    if (kind == Collective::kAllReduce) {
      parts_.push_back({owner, shard_of(n, owner, members_.size())});
    } else {
      for (const int rank : held_[static_cast<size_t>(owner)])
        parts_.push_back({owner, shard_of(n, rank, group_size_)});
    }
  }
  longest_ = 0;
  for (const Part& part : parts_) longest_ = std::max(longest_, part.at.count);
  const int64_t share = kRoundBytes / flat.element_size() / static_cast<int64_t>(parts_.size());
  step_ = std::max(kShardUnit, share);
  begin_ = 0;
  adds_ = kind != Collective::kAllGather && n > 0;
  gathers_ = kind != Collective::kReduceScatter;
  if (adds_) send_terms();
}

bool Exchange::test() {
  for (;;) {
    while (!requests_.empty() && requests_.back().test()) requests_.pop_back();
    if (!requests_.empty()) return false;
    if (adds_) {
      add_terms();
      begin_ += step_;
      adds_ = begin_ < longest_;
      if (adds_) send_terms();
    } else if (gathers_) {
      gathers_ = false;
      send_results();
    } else {
      flat_.reset();
      terms_.reset();
      return true;
    }
  }
}

/// What this round takes of a part; may be empty.
Shard Exchange::piece_of(const Part& part) const {
  const int64_t count = std::clamp<int64_t>(part.at.count - begin_, 0, step_);
  return {part.at.begin + (count > 0 ? begin_ : 0), count};
}

void Exchange::send_terms() {
  const int64_t others = members_.size() - 1;
  int64_t mine = 0;
  for (const Part& part : parts_) mine += others_have(part) ? 0 : piece_of(part).count;
  if (!terms_.defined() || terms_.numel() < mine * others)
    terms_ = at::empty({mine * others}, flat_.options());  // (others x pieces)
  int64_t at = 0;
  for (const Part& part : parts_) {
    const Shard piece = piece_of(part);
    if (piece.count == 0) continue;
    if (others_have(part)) {
      requests_.push_back(members_.send_async(flat_.narrow(0, piece.begin, piece.count), part.owner,
                                              kTermTag));  // (<= step)
      continue;
    }
    for (int from = 0; from < members_.size(); ++from) {
      if (from == members_.rank()) continue;
      requests_.push_back(
          members_.receive_async(terms_.narrow(0, at, piece.count), from, kTermTag));  // (<= step)
      at += piece.count;
    }
  }
}

void Exchange::add_terms() {
  const int64_t width = flat_.element_size();
  char* flat = static_cast<char*>(flat_.data_ptr());
  const char* term = static_cast<const char*>(terms_.const_data_ptr());
  for (const Part& part : parts_) {
    const Shard piece = piece_of(part);
    if (others_have(part) || piece.count == 0) continue;
    char* own = flat + piece.begin * width;
    std::vector<const void*> from;
    for (int member = 0; member < members_.size(); ++member) {
      from.push_back(member == members_.rank() ? own : term);
      if (member != members_.rank()) term += piece.count * width;
    }
    ordered_sum(from, {own}, piece.count, flat_.scalar_type());
  }
}

void Exchange::send_results() {
  for (const Part& part : parts_) {
    if (part.at.count == 0) continue;
    const at::Tensor result = flat_.narrow(0, part.at.begin, part.at.count);  // (part)
    if (others_have(part)) {
      requests_.push_back(members_.receive_async(result, part.owner, kResultTag));
      continue;
    }
    for (int to = 0; to < members_.size(); ++to) {
      if (to != members_.rank()) requests_.push_back(members_.send_async(result, to, kResultTag));
    }
  }
}

}  // namespace temper
