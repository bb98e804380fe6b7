#include "launch/distill_inputs.h"

#include "comm/agree.h"
#include "data/tokenizer.h"
#include "launch/setup.h"
#include "launch/vocabulary.h"

namespace temper {

DistillInputs open_distill_inputs(DistillConfig& config, const std::string& run_dir,
                                  const Communicator& world) {
  DistillInputs inputs;
  const std::string folder =
      config.teacher.model.path.empty() ? config.student.folder() : config.teacher.model.path;
  choose_tokenizer(config.data, folder);
  inputs.corpus = open_corpus_everywhere(config.data, run_dir, world);
  agree(world, [&] {
    const Corpus& corpus = *inputs.corpus;
    inputs.teacher_source = {config.teacher.model.resolve(corpus.vocab()),
                             config.teacher_folder(run_dir)};
    inputs.teacher_shape = inputs.teacher_source.shape;
    inputs.student_shape = config.student.resolve(inputs.teacher_source, corpus.vocab());
    for (const std::string& note :
         {fit_vocabulary(corpus, "teacher", config.teacher.model.path, inputs.teacher_shape),
          fit_vocabulary(corpus, "student", config.student.folder(), inputs.student_shape)}) {
      if (!note.empty()) inputs.notes.push_back(note);
    }
    check_fit(inputs.teacher_shape, "teacher", config.teacher.model.path, corpus, config.train.seq);
    check_fit(inputs.student_shape, "student", config.student.folder(), corpus, config.train.seq);
    check_parts(corpus, config.train.seq, /*training=*/true);
    config.teacher.payload_spec(inputs.teacher_shape, config.run.compute()).validate();
    const std::string tokenizer = tokenizer_to_keep(corpus, folder);
    inputs.tokenizer = tokenizer_files(tokenizer);
    if (!tokenizer.empty())
      inputs.tokenizer_fingerprint = fingerprint(*open_tokenizer(tokenizer, "data.tokenizer"));
  });
  return inputs;
}

}  // namespace temper
