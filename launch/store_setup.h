// A store of soft targets as the commands open it: to be written while training (--teacher.tee), to
// be written by teachers alone (temper record), or to be replayed (--teacher.store).
#pragma once

#include <string>

#include "comm/mpi/communicator.h"
#include "comm/schedule.h"
#include "data/corpus.h"
#include "data/folder_lock.h"
#include "data/replay_corpus.h"
#include "launch/run_config.h"
#include "model/transformer.h"
#include "student/train_config.h"
#include "teacher/store_index.h"

namespace temper {

/// Of the tokenizer that tokenizer_to_keep() names; 0 where that is none. Throws c10::ValueError.
uint64_t tokenizer_fingerprint(const std::string& tokenizer_file);

/// Gives a teacher's special ids to the shape of one that is not at hand.
void set_special_ids(const StoreIndex& store, TransformerConfig& shape);

/// Refuses a temperature that changes: a store is recorded at one, since a replay may read its rows
/// at other steps. `option` is the one that names the store, with its value. Throws c10::ValueError
/// naming both options and the remedy.
void check_recordable(const Schedule& temperature, const std::string& option);

/// What a run is, as far as soft targets depend on it: data, payload, temperature, seed, and how
/// many rows. `tokenizer` is tokenizer_fingerprint(), `temperature` one that check_recordable()
/// lets pass. The teacher and the layout are left open.
StoreIndex store_of_run(const Corpus& corpus, uint64_t tokenizer, const PayloadSpec& payload,
                        const Schedule& temperature, const RunConfig& run,
                        const TrainConfig& train);

/// A store to be written.
struct StoreRequest {
  std::string option;  ///< that named the folder: "--teacher.tee"
  std::string dir;
  std::string ini;  ///< the resolved configuration
  /// What the run is. Layout fields of 0 (micro_batch: -1) become those of a store that is there,
  /// or the usual ones.
  StoreIndex index;
  TransformerConfig teacher_shape;
  const Transformer* teacher = nullptr;  ///< on rank `teacher_rank`; of any other rank ignored
  int teacher_rank = 0;
  at::Tensor head;  ///< on rank 0, for the payload hidden: (V, C)
};

struct WritableStore {
  StoreIndex index;  ///< complete
  FolderLock lock;   ///< on world rank 0, until the writing is over
};

/// Makes the folder, or goes on with the store that is there. What earlier writers left under
/// temporary names is removed. Throws AgreedError naming the option where another job writes to the
/// folder, and the field that differs and both values where it holds another store. Collective.
WritableStore open_store_for_writing(StoreRequest request, const Communicator& world);

/// A store to be replayed.
struct OpenStore {
  std::string dir;  ///< empty: none
  StoreIndex index;
  at::Tensor head;  // (V, C), for the payload hidden

  ReplayOrder order() const { return {index.rows(), static_cast<uint64_t>(index.seed)}; }
};

/// Opens the store in `dir` for a run of `run.rows()` rows (see store_of_run) that is repeated with
/// `seeds` seeds; only with the one of the recording its rows are read in order, and the first of
/// them are enough. Not collective. Throws c10::ValueError where it does not fit, or lacks shards
/// that the run needs, naming field, values or shards and the remedy.
OpenStore open_store_for_replay(const std::string& dir, const StoreIndex& run, int64_t seeds);

}  // namespace temper
