// What a distillation reads before it begins: data, tokenizer and the shapes of both models,
// checked against each other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/mpi/communicator.h"
#include "data/corpus.h"
#include "data/tokenizer_files.h"
#include "launch/distill_config.h"
#include "launch/store_setup.h"
#include "student/student_model.h"

namespace temper {

struct DistillInputs {
  std::unique_ptr<Corpus> data;    ///< as it lies on the disk
  std::unique_ptr<Corpus> corpus;  ///< its rows as they are learnt from
  OpenStore store;                 ///< to be replayed; without dir: none
  TeacherSource teacher_source;    ///< rows of vocabulary as in its folder
  TransformerConfig teacher_shape;
  TransformerConfig student_shape;
  std::vector<TokenizerFile> tokenizer;  ///< goes into every folder that is written
  uint64_t tokenizer_fingerprint = 0;    ///< 0 where the tokenizer is not known
  std::vector<std::string> notes;        ///< for a person: what was trimmed
};

/// Opens the corpus and resolves the shapes; `config.data.tokenizer` auto becomes what it means.
/// Throws AgreedError naming option or file, value and remedy where they do not fit each other.
/// Collective.
DistillInputs open_distill_inputs(DistillConfig& config, const std::string& run_dir,
                                  const Communicator& world);

}  // namespace temper
