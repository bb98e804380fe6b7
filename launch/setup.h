// What every command does first: open the corpus on all ranks, check that it fits the model, make
// the seams.
#pragma once

#include <memory>

#include "comm/collectives.h"
#include "data/corpus.h"
#include "data/data_config.h"
#include "launch/machine.h"
#include "launch/results.h"
#include "model/transformer.h"
#include "student/evaluation.h"
#include "student/evaluation_config.h"
#include "teacher/teacher_config.h"

namespace temper {

/// Opens the corpus on every rank: rank 0 first, since it may have to train a tokenizer. Throws
/// AgreedError where a rank cannot, or where the ranks see different data, with both values.
/// Collective.
std::unique_ptr<Corpus> open_corpus_everywhere(const DataConfig& config, const std::string& run_dir,
                                               const Communicator& world);

/// Throws AgreedError where the ranks see different tokenizers of the corpus, or of the model's
/// `folder`, with both values. Collective.
void agree_on_tokenizer(const Corpus& corpus, const std::string& folder, const Communicator& world);

/// Throws c10::ValueError if the corpus holds ids that the model (of `folder`, or empty) does not
/// know, was made with another tokenizer than the model's, or has rows longer than its positions.
void check_fit(const TransformerConfig& model, const std::string& section,
               const std::string& folder, const Corpus& corpus, int64_t seq);

/// Throws c10::ValueError where rows of `seq` tokens are longer than the model's positions.
void check_positions(const TransformerConfig& model, const std::string& section, int64_t seq);

/// Throws c10::ValueError if a part has no row of `seq` tokens.
void check_parts(const Corpus& corpus, int64_t seq, bool training);

/// The teacher in its folder, or with random weights drawn from `seed`, on `device`, its weights as
/// a run in `compute` keeps them. Throws c10::ValueError where they are no finite numbers. Not
/// collective.
Transformer open_teacher(const TeacherConfig& config, const TransformerConfig& shape, uint64_t seed,
                         at::ScalarType compute, at::Device device);

/// NCCL where every rank of the group has a GPU of its own, else MPI; a line on the screen says why
/// where GPUs must do with that (comm/collectives_choice.h). Collective.
std::unique_ptr<Collectives> make_collectives(const Communicator& comm, const Machine& machine);

/// Calibrates on the fit part, measures both held-out parts before and after, and the fit part's
/// NLL around the fitted temperature; with `position_buckets` > 0 also a temperature for each
/// stretch of positions. Throws EvaluationStopped on all ranks where one is asked to stop
/// (launch/stop_request.h). Collective over `comm`.
ModelResult judge(const Transformer& model, const std::string& name, uint64_t seed,
                  const Corpus& corpus, int64_t seq, const EvaluationConfig& config,
                  at::ScalarType compute, const Communicator& comm, int64_t position_buckets = 0);

}  // namespace temper
