// Collectives on flat tensors by messages between ranks that share no memory: the leaders of
// several nodes, or all ranks of a group. Sums are taken in rank order by the part's owner, so that
// an all-reduce and a reduce-scatter have the same bits; each byte that a rank needs crosses once.
#pragma once

#include <vector>

#include "comm/mpi/communicator.h"
#include "comm/shared_collectives.h"

namespace temper {

class Exchange : public AcrossNodes {
 public:
  /// `held[i]`: the ranks of the whole group whose shards rank i of `members` takes care of.
  Exchange(Communicator members, std::vector<std::vector<int>> held, int group_size);

  void start(Collective kind, const at::Tensor& flat) override;
  bool test() override;

 private:
  /// A part of the tensor and the member that adds it up or has it.
  struct Part {
    int owner = 0;
    Shard at;
  };

  bool others_have(const Part& part) const { return part.owner != members_.rank(); }
  Shard piece_of(const Part& part) const;
  void send_terms();
  void add_terms();
  void send_results();

  Communicator members_;
  std::vector<std::vector<int>> held_;
  int group_size_;

  at::Tensor flat_;                // (n), while one is under way
  std::vector<Part> parts_;        // the same list on all members
  int64_t longest_ = 0;            // part
  int64_t begin_ = 0, step_ = 0;   // of the round: elements of each part
  bool adds_ = false;              // rounds are left
  bool gathers_ = false;           // the results have yet to go out
  at::Tensor terms_;               // what the others have sent for this member's parts
  std::vector<Request> requests_;  // of the round, or of the results
};

}  // namespace temper
