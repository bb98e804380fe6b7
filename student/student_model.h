// Where a student comes from: random weights, a folder, or its own teacher with fewer layers, as
// DistilBERT was made (Sanh et al. 2019, arXiv 1910.01108).
#pragma once

#include <boost/program_options/options_description.hpp>
#include <string>
#include <vector>

#include "model/model_config.h"
#include "model/transformer.h"

namespace temper {

/// The teacher, as far as a student can be made from it.
struct TeacherSource {
  TransformerConfig shape;
  std::string folder;  ///< empty: it has none
};

class StudentModel {
 public:
  StudentModel();

  /// Declares `student.*`: the model's options, `student.init` and `student.keep-layers`.
  void add_options(boost::program_options::options_description& options);
  void validate() const;

  /// The student's shape for `vocab` ids. Throws c10::ValueError naming option or file, value and
  /// remedy.
  TransformerConfig resolve(const TeacherSource& teacher, int64_t vocab) const;

  /// The student with its first weights, in float32. `shape` is that of resolve(), with rows of
  /// vocabulary perhaps trimmed; `seed` is for random weights.
  Transformer make(const TransformerConfig& shape, const TeacherSource& teacher, uint64_t seed,
                   at::Device device) const;

  /// make() draws the weights by its seed; otherwise it reads them.
  bool starts_random() const { return kind() == Init::kRandom; }

  /// "random weights", "weights of DIR", "layers 0, 2, 5 of the teacher".
  std::string describe_init(const TeacherSource& teacher) const;

  /// The folder whose weights or shape are used; empty: none.
  std::string folder() const;

  ModelConfig model{"student"};
  std::string init = "auto";  ///< auto, random, teacher, or a folder
  std::string keep_layers;    ///< "0,2,5": with init teacher; empty: evenly spaced

 private:
  enum class Init { kRandom, kFolder, kTeacher };
  Init kind() const;
  /// Layers of a teacher to keep: as listed, or evenly spaced from the first to the last.
  std::vector<int64_t> layers_to_keep(int64_t teacher_layers) const;
};

}  // namespace temper
