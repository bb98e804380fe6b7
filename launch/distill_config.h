// What `temper distill` is told: its sections, and the options that only it has.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>

#include "data/data_config.h"
#include "launch/faults.h"
#include "launch/log_config.h"
#include "launch/run_config.h"
#include "student/calibration_config.h"
#include "student/evaluation_config.h"
#include "student/loss.h"
#include "student/student_model.h"
#include "student/train_config.h"
#include "teacher/teacher_config.h"

namespace temper {

struct DistillConfig {
  RunConfig run;
  int64_t teachers = 0;  ///< ranks; 0: colocated
  bool spread = true;    ///< teachers over the nodes; else the last ranks
  DataConfig data;
  TeacherConfig teacher;
  StudentModel student;
  LossConfig loss;
  TrainConfig train;
  EvaluationConfig evaluation;
  LogConfig log;
  CalibrationConfig calibration;
  FaultConfig faults;
  bool hard_labels = false;  ///< also train the student without soft targets
  int64_t seeds = 1;         ///< how often the student is trained
  std::string store;  ///< replay the soft targets recorded there; empty: a teacher makes them
  std::string tee;    ///< record the soft targets there; empty: no
  std::string gradient_path;  ///< the first step's gradient goes there; empty: no

  void add_options(boost::program_options::options_description& options);
  /// Refuses what cannot be right whatever the files hold. Throws c10::ValueError naming the
  /// option, the value and the remedy.
  void validate() const;

  /// Refuses folders of models that are not there. Throws likewise.
  void check_models() const {
    teacher.model.check_path();
    student.model.check_path();
  }

  bool replays() const { return !store.empty(); }
  /// `loss` with the teacher's temperature.
  LossConfig student_loss() const;

  /// Where the teacher's weights lie, or will lie once it is trained; empty: nowhere.
  std::string teacher_folder(const std::string& run_dir) const {
    return teacher.train_steps > 0 ? run_dir + "/teacher" : teacher.model.path;
  }
};

}  // namespace temper
