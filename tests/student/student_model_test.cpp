// Where a student comes from.
#include "student/student_model.h"

#include <ATen/ATen.h>
#include <c10/util/Exception.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "model/hugging_face.h"

namespace temper {
namespace {

class StudentModelTest : public testing::Test {
 protected:
  void SetUp() override {
    ModelConfig shape("teacher");
    shape.layers = 12;
    shape.width = 16;
    shape.heads = 2;
    Transformer model(shape.resolve(20));
    model.init_weights(1);
    save_model(model, dir_);
    teacher_ = {read_model_config(dir_), dir_};
  }
  void TearDown() override { std::filesystem::remove_all(dir_); }

  std::string refusal(const std::function<void(StudentModel&)>& change) const {
    StudentModel student;
    student.init = "teacher";
    change(student);
    try {
      student.validate();
      student.resolve(teacher_, 20);
    } catch (const c10::ValueError& error) {
      return error.what_without_backtrace();
    }
    return "accepted";
  }

  const std::string dir_ = testing::TempDir() + "temper-student-model-" + std::to_string(getpid());
  TeacherSource teacher_;
};

// The layers that DistilBERT took from BERT's twelve:
// https://github.com/huggingface/transformers-research-projects/blob/main/distillation/scripts/extract_distilbert.py
TEST_F(StudentModelTest, KeepsTheLayersThatDistilBertKept) {
  StudentModel student;
  student.init = "teacher";
  student.model.layers = 6;
  EXPECT_EQ(student.describe_init(teacher_), "layers 0, 2, 4, 7, 9, 11 of the teacher");
  student.model.layers = 0;  // half of them
  EXPECT_EQ(student.resolve(teacher_, 20).layers, 6);
  student.model.layers = 1;
  EXPECT_EQ(student.describe_init(teacher_), "layers 0 of the teacher");
  student.model.layers = 12;
  EXPECT_EQ(student.describe_init(teacher_),
            "layers 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 of the teacher");
}

TEST_F(StudentModelTest, HasTheTeachersWeights) {
  StudentModel student;
  student.init = "teacher";
  student.keep_layers = "3,8";
  const TransformerConfig shape = student.resolve(teacher_, 20).with_vocab(18);
  EXPECT_EQ(shape.layers, 2);
  const Transformer cut = student.make(shape, teacher_, 7, at::kCPU), whole = load_model(dir_);
  EXPECT_TRUE(at::equal(cut.head(), whole.head().narrow(0, 0, 18)));
  const auto named = [](const Transformer& model, const std::string& name) {
    for (const Parameter& parameter : model.parameters()) {
      if (parameter.name == name) return parameter.value;
    }
    return at::Tensor();
  };
  EXPECT_TRUE(at::equal(named(cut, "model.layers.1.mlp.down_proj.weight"),
                        named(whole, "model.layers.8.mlp.down_proj.weight")));
  EXPECT_TRUE(at::equal(named(cut, "model.layers.0.self_attn.qkv_proj.weight"),
                        named(whole, "model.layers.3.self_attn.qkv_proj.weight")));
}

TEST_F(StudentModelTest, RefusesWhatCannotBeKept) {
  EXPECT_EQ(refusal([](StudentModel&) {}), "accepted");
  EXPECT_EQ(refusal([](StudentModel& s) { s.model.width = 16; }), "accepted");
  const auto names = [&](const std::string& words,
                         const std::function<void(StudentModel&)>& change) {
    const std::string message = refusal(change);
    EXPECT_NE(message.find(words), std::string::npos) << message;
  };
  names("--student.width is 32", [](StudentModel& s) { s.model.width = 32; });
  names("--student.layers is 13", [](StudentModel& s) { s.model.layers = 13; });
  names("--student.family is gpt2", [](StudentModel& s) { s.model.family = "gpt2"; });
  names("'12' is no layer", [](StudentModel& s) { s.keep_layers = "0,12"; });
  names("'-1' is no layer", [](StudentModel& s) { s.keep_layers = "-1"; });
  names("names 2 layers", [](StudentModel& s) {
    s.keep_layers = "0,1";
    s.model.layers = 3;
  });
  names("--student.init /nowhere", [](StudentModel& s) { s.init = "/nowhere"; });
  names("--student.path " + dir_ +
            " has layers 12, but --student.init teacher cuts a student with "
            "layers 6 from the teacher: give --student.init random",
        [&](StudentModel& s) { s.model.path = dir_; });
  names("needs --student.init teacher", [](StudentModel& s) {
    s.init = "random";
    s.keep_layers = "0";
  });
}

TEST_F(StudentModelTest, TakesShapesAndWeightsApart) {
  StudentModel student;
  student.model.path = dir_;
  EXPECT_EQ(student.describe_init(teacher_), "weights of " + dir_);
  student.model.path = dir_ + "/config.json";
  EXPECT_EQ(student.describe_init(teacher_), "random weights");
  EXPECT_EQ(student.resolve(teacher_, 20).layers, 12);
  student.model.path = dir_;
  student.init = "random";
  EXPECT_EQ(student.resolve(teacher_, 20).layers, 12);
  const TransformerConfig shape = student.resolve(teacher_, 20);
  EXPECT_FALSE(
      at::equal(student.make(shape, teacher_, 7, at::kCPU).head(), load_model(dir_).head()));
  // Without a teacher's folder there is nothing to keep.
  student = StudentModel();
  student.init = "teacher";
  EXPECT_THROW(student.resolve({teacher_.shape, ""}, 20), c10::ValueError);
  // Shapes that are left open get the defaults.
  student = StudentModel();
  EXPECT_EQ(student.resolve(teacher_, 20).width, 128);
}

}  // namespace
}  // namespace temper
