#include "launch/distill_inputs.h"

#include "comm/agree.h"
#include "data/replay_corpus.h"
#include "launch/setup.h"
#include "launch/vocabulary.h"

namespace temper {

DistillInputs open_distill_inputs(DistillConfig& config, const std::string& run_dir,
                                  const Communicator& world) {
  DistillInputs inputs;
  const std::string folder =
      config.teacher.model.path.empty() ? config.student.folder() : config.teacher.model.path;
  choose_tokenizer(config.data, folder);
  inputs.data = open_corpus_everywhere(config.data, run_dir, world);
  agree_on_tokenizer(*inputs.data, folder, world);
  // A replay needs nothing of the teacher; named all the same, it must fit (students may be cut
  // from it).
  const bool has_teacher = !config.replays() || !config.teacher.model.path.empty();
  agree(world, [&] {
    const Corpus& corpus = *inputs.data;
    TransformerConfig& teacher = inputs.teacher_source.shape;
    teacher = config.teacher.model.resolve(corpus.vocab());
    if (!has_teacher) set_special_ids(read_store_index(config.store), teacher);
    inputs.teacher_source.folder = config.teacher_folder(run_dir);
    inputs.teacher_shape = teacher;
    inputs.student_shape = config.student.resolve(inputs.teacher_source, corpus.vocab());
    for (const std::string& note :
         {fit_vocabulary(corpus, "teacher", config.teacher.model.path, inputs.teacher_shape),
          fit_vocabulary(corpus, "student", config.student.folder(), inputs.student_shape)}) {
      if (!note.empty()) inputs.notes.push_back(note);
    }
    if (has_teacher)
      check_fit(inputs.teacher_shape, "teacher", config.teacher.model.path, corpus,
                config.train.seq);
    check_fit(inputs.student_shape, "student", config.student.folder(), corpus, config.train.seq);
    check_parts(corpus, config.train.seq, /*training=*/true);
    const PayloadSpec payload =
        config.teacher.payload_spec(inputs.teacher_shape, config.run.compute());
    payload.validate();
    const std::string tokenizer = tokenizer_to_keep(corpus, folder);
    inputs.tokenizer = tokenizer_files(tokenizer);
    inputs.tokenizer_fingerprint = tokenizer_fingerprint(tokenizer);
    if (config.replays()) {
      inputs.store =
          open_store_for_replay(config.store,
                                store_of_run(corpus, inputs.tokenizer_fingerprint, payload,
                                             config.teacher.temperature, config.run, config.train),
                                config.seeds);
    }
  });
  if (config.replays()) {
    inputs.corpus = std::make_unique<ReplayCorpus>(*inputs.data, inputs.store.order());
  } else {
    inputs.corpus = std::move(inputs.data);
  }
  return inputs;
}

}  // namespace temper
