// The [teacher] section: the teacher's model, the temperature of its soft targets, and how they
// travel.
#pragma once

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/payload.h"
#include "comm/schedule.h"
#include "model/model_config.h"

namespace temper {

struct TeacherConfig {
  static constexpr int64_t kUsualTopk = 64, kUsualDraws = 12;

  ModelConfig model{"teacher"};
  Schedule temperature = 2.0;    ///< T of the soft targets, in both softmaxes of the KL term
  std::string payload = "full";  ///< what travels per token: full, hidden, topk or sample
  int64_t topk = kUsualTopk;     ///< entries per token of the payload topk
  int64_t draws = kUsualDraws;   ///< per token of the payload sample
  std::string values =
      "auto";  ///< of full, hidden and topk: fp32, bf16, fp16 or int8; auto: run.precision
  std::string weights = "auto";    ///< in memory: bf16, fp32 or auto
  int64_t lookahead = 2;           ///< micro-batches that a teacher may run ahead of each student
  int64_t batch = 0;               ///< sequences per forward pass, at most; 0: one micro-batch
  std::string transport = "auto";  ///< auto, messages, shared or nccl
  int64_t train_steps = 0;         ///< train the teacher first, for so many steps
  double train_lr = 1e-3;

  TeacherConfig();

  /// Declares `teacher.*`, the model's options included.
  void add_options(boost::program_options::options_description& options);
  /// The layout of this teacher's messages; `compute` is the run's dtype.
  PayloadSpec payload_spec(const TransformerConfig& shape, at::ScalarType compute) const;
  /// How the weights are kept in a run that computes in `compute`; nothing: as they come.
  std::optional<at::ScalarType> weights_dtype(at::ScalarType compute) const;
  /// Throws c10::ValueError naming the option, the value and the remedy.
  void validate() const;
  /// Refuses options of payloads that are none of `payloads`, those that the command works with.
  void check_used(const std::vector<Payload>& payloads) const;
};

}  // namespace temper
