#include "student/student_model.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <boost/program_options/value_semantic.hpp>
#include <cmath>
#include <filesystem>
#include <sstream>

#include "model/folder_weights.h"
#include "model/hugging_face.h"

namespace temper {

namespace po = boost::program_options;
namespace fs = std::filesystem;

StudentModel::StudentModel() {
  model.open_ended = true;
  model.family = "auto";
  model.layers = model.width = model.heads = model.positions = 0;
  model.tied_head = "auto";
}

void StudentModel::add_options(po::options_description& options) {
  model.add_options(options);
  auto add = options.add_options();
  add("student.init",
      po::value<std::string>(&init)->default_value(init)->value_name("auto|random|teacher|DIR"),
      "first weights: random; those of a folder; or the teacher's with fewer layers "
      "(student.layers of them, evenly spaced from its first to its last); auto: those in "
      "student.path where there are any, otherwise random");
  add("student.keep-layers",
      po::value<std::string>(&keep_layers)->default_value(keep_layers)->value_name("N,N,..."),
      "for student.init teacher: which of its layers to keep, counted from 0");
}

void StudentModel::validate() const {
  TORCH_CHECK_VALUE(!init.empty(),
                    "--student.init is empty: give auto, random, teacher or a folder");
  TORCH_CHECK_VALUE(keep_layers.empty() || init == "teacher", "--student.keep-layers ", keep_layers,
                    " needs --student.init teacher, not ", init);
  const bool from_folder = init != "auto" && init != "random" && init != "teacher";
  std::error_code ignored;
  TORCH_CHECK_VALUE(!from_folder || fs::is_directory(init, ignored), "--student.init ", init,
                    ": no such folder; give auto, random, teacher or the folder of a model");
  TORCH_CHECK_VALUE(!from_folder || model.path.empty() || model.path == init, "--student.init ",
                    init, " and --student.path ", model.path,
                    " name two models; the folder of init gives the shape too: leave path out");
}

StudentModel::Init StudentModel::kind() const {
  if (init == "random") return Init::kRandom;
  if (init == "teacher") return Init::kTeacher;
  if (init != "auto") return Init::kFolder;
  return !model.path.empty() && has_weights(model.path) ? Init::kFolder : Init::kRandom;
}

std::string StudentModel::folder() const {
  const bool named = init != "auto" && init != "random" && init != "teacher";
  if (named) return init;
  std::error_code ignored;
  const bool is_file = fs::is_regular_file(model.path, ignored);
  return is_file ? fs::path(model.path).parent_path().string() : model.path;
}

std::vector<int64_t> StudentModel::layers_to_keep(int64_t teacher_layers) const {
  std::vector<int64_t> layers;
  if (!keep_layers.empty()) {
    std::istringstream list(keep_layers);
    for (std::string item; std::getline(list, item, ',');) {
      const bool number = !item.empty() && item.size() < 7 &&
                          item.find_first_not_of("0123456789") == std::string::npos;
      TORCH_CHECK_VALUE(number && std::stoll(item) < teacher_layers, "--student.keep-layers ",
                        keep_layers, ": '", item, "' is no layer of the teacher, which has 0 to ",
                        teacher_layers - 1);
      layers.push_back(std::stoll(item));
    }
    const auto count = static_cast<int64_t>(layers.size());
    TORCH_CHECK_VALUE(model.layers == 0 || model.layers == count, "--student.layers is ",
                      model.layers, ", but --student.keep-layers names ", count,
                      " layers; leave one of the two out");
    return layers;
  }
  const int64_t count = model.layers > 0 ? model.layers : (teacher_layers + 1) / 2;
  TORCH_CHECK_VALUE(count <= teacher_layers, "--student.layers is ", count,
                    ", more than the teacher's ", teacher_layers,
                    " layers, of which --student.init teacher keeps some");
  const double step =
      count > 1 ? static_cast<double>(teacher_layers - 1) / static_cast<double>(count - 1) : 0;
  for (int64_t i = 0; i < count; ++i) layers.push_back(std::llround(static_cast<double>(i) * step));
  return layers;
}

TransformerConfig StudentModel::resolve(const TeacherSource& teacher, int64_t vocab) const {
  if (kind() == Init::kFolder) return read_model_config(folder());
  if (kind() == Init::kRandom) {
    TransformerConfig shape = model.resolve(vocab);
    // With an own config.json, the special ids are its own business.
    if (model.path.empty()) {
      shape.bos_id = teacher.shape.bos_id;
      shape.pad_id = teacher.shape.pad_id;
      shape.eos_ids = teacher.shape.eos_ids;
      shape = shape.with_vocab(shape.vocab);
    }
    return shape;
  }
  TORCH_CHECK_VALUE(!teacher.folder.empty(),
                    "--student.init teacher: the teacher has random weights; name one with "
                    "--teacher.path, or train it first with --teacher.train-steps");
  TransformerConfig shape = teacher.shape;
  shape.layers = static_cast<int64_t>(layers_to_keep(shape.layers).size());
  const auto same = [&](const char* key, int64_t value, int64_t theirs) {
    TORCH_CHECK_VALUE(value == 0 || value == theirs, "--student.", key, " is ", value,
                      ", but --student.init teacher keeps whole layers of a teacher with ", theirs,
                      "; leave it out, or give --student.init random");
  };
  if (!model.path.empty()) {
    const TransformerConfig own = read_model_config(model.path);
    const auto same_as_own = [&](const char* what, int64_t value, int64_t theirs) {
      TORCH_CHECK_VALUE(value == theirs, "--student.path ", model.path, " has ", what, " ", value,
                        ", but --student.init teacher cuts a student with ", what, " ", theirs,
                        " from the teacher: give --student.init random, or leave student.path "
                        "out");
    };
    same_as_own("layers", own.layers, shape.layers);
    same_as_own("width", own.width, shape.width);
    same_as_own("heads", own.heads, shape.heads);
    same_as_own("kv-heads", own.kv_heads, shape.kv_heads);
    same_as_own("ffn-width", own.ffn_width, shape.ffn_width);
    return shape;
  }
  TORCH_CHECK_VALUE(model.family == "auto" || model.family == family_name(shape.family),
                    "--student.family is ", model.family,
                    ", but --student.init teacher keeps layers of a ", family_name(shape.family),
                    "; leave it out");
  TORCH_CHECK_VALUE(model.tied_head == "auto" || (model.tied_head == "true") == shape.tied_head,
                    "--student.tied-head is ", model.tied_head,
                    ", but --student.init teacher keeps the teacher's head, which is ",
                    shape.tied_head ? "tied" : "not tied", "; leave it out");
  same("width", model.width, shape.width);
  same("heads", model.heads, shape.heads);
  same("kv-heads", model.kv_heads, shape.kv_heads);
  same("ffn-width", model.ffn_width, shape.ffn_width);
  same("positions", model.positions, shape.positions);
  return shape;
}

Transformer StudentModel::make(const TransformerConfig& shape, const TeacherSource& teacher,
                               uint64_t seed, at::Device device) const {
  LoadOptions load;
  load.device = device;
  load.vocab = shape.vocab;
  if (kind() == Init::kFolder) return load_model(folder(), load);
  if (kind() == Init::kTeacher) {
    load.layers = layers_to_keep(teacher.shape.layers);
    return load_model(teacher.folder, load);
  }
  Transformer student(shape, at::kFloat, device);
  student.init_weights(seed);
  return student;
}

std::string StudentModel::describe_init(const TeacherSource& teacher) const {
  if (kind() == Init::kRandom) return "random weights";
  if (kind() == Init::kFolder) return "weights of " + folder();
  std::string text;
  for (const int64_t layer : layers_to_keep(teacher.shape.layers))
    text += (text.empty() ? "layers " : ", ") + std::to_string(layer);
  return text + " of the teacher";
}

}  // namespace temper
