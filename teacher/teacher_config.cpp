#include "teacher/teacher_config.h"

#include <c10/util/Exception.h>

#include <algorithm>
#include <cmath>

#include "comm/channel_config.h"
#include "comm/value_coding.h"

namespace temper {

namespace po = boost::program_options;

TeacherConfig::TeacherConfig() {
  model.layers = 4;
  model.width = 256;
}

void TeacherConfig::add_options(po::options_description& options) {
  model.add_options(options);
  auto add = options.add_options();
  add("teacher.temperature",
      po::value<std::string>()
          ->default_value(temperature.text())
          ->value_name("T")
          ->notifier([this](const std::string& text) {
            temperature = Schedule::parse(text, "teacher.temperature");
          }),
      (std::string(
           "training temperature: the softmaxes of teacher and student in the KL term are taken at "
           "T, and the term is scaled by T^2; not the temperature of decoding, and not the one "
           "that calibration fits. ") +
       "T is " + kScheduleForms)
          .c_str());
  add("teacher.payload",
      po::value<std::string>(&payload)->default_value(payload)->value_name("KIND"),
      "what travels per token: full (all logits); hidden (the last hidden state; the students have "
      "the teacher's head, and apply it); topk (the likeliest ids of the tempered distribution and "
      "the exact mass of the rest); sample (draws from it, whose gradient is exact in "
      "expectation)");
  add("teacher.topk", po::value<int64_t>(&topk)->default_value(topk)->value_name("K"),
      "ids per token, for teacher.payload topk");
  add("teacher.draws", po::value<int64_t>(&draws)->default_value(draws)->value_name("N"),
      "draws per token, for teacher.payload sample");
  add("teacher.values", po::value<std::string>(&values)->default_value(values)->value_name("TYPE"),
      "how values travel, for teacher.payload full, hidden and topk: fp32, bf16 (relative error up "
      "to 2^-8), fp16 "
      "(2^-11), int8 (1/508 of each token's range), or auto (as run.precision)");
  add("teacher.weights",
      po::value<std::string>(&weights)->default_value(weights)->value_name("TYPE"),
      "how the teacher's weights are kept in memory: bf16 (half the size), fp32, or auto (bf16 in "
      "a "
      "run of run.precision bf16, else as its folder has them)");
  add("teacher.lookahead",
      po::value<int64_t>(&lookahead)->default_value(lookahead)->value_name("N"),
      "micro-batches that teachers may run ahead of each student (0: lock-step)");
  add("teacher.batch", po::value<int64_t>(&batch)->default_value(batch)->value_name("N"),
      "sequences that a teacher may take into one forward pass: its next micro-batches, as far as "
      "the lookahead lets it (0: one micro-batch)");
  add("teacher.transport",
      po::value<std::string>(&transport)->default_value(transport)->value_name("KIND"),
      "what carries soft targets from teacher to student rank: messages (MPI); shared (memory of "
      "their node, nothing is copied); nccl (from GPU to GPU); auto (for each pair the best that "
      "can)");
  add("teacher.train-steps",
      po::value<int64_t>(&train_steps)->default_value(train_steps)->value_name("N"),
      "train the teacher on hard labels first, for N steps on all ranks, and keep it in the run "
      "folder (0: do not)");
  add("teacher.train-lr", po::value<double>(&train_lr)->default_value(train_lr)->value_name("X"),
      "highest learning rate while the teacher is trained");
}

void TeacherConfig::validate() const {
  TORCH_CHECK_VALUE(temperature.lowest() > 0, "--teacher.temperature is ", temperature.text(),
                    ": a temperature must be a finite number above 0 (1 to 8 are usual)");
  payload_from_name(payload);
  if (values != "auto") value_type_from_name(values, "teacher.values");
  TORCH_CHECK_VALUE(weights == "auto" || weights == "bf16" || weights == "fp32",
                    "--teacher.weights is '", weights, "': give bf16, fp32 or auto");
  TORCH_CHECK_VALUE(topk >= 1, "--teacher.topk is ", topk, ": give at least 1 id per token");
  TORCH_CHECK_VALUE(draws >= 1 && draws <= 65536, "--teacher.draws is ", draws,
                    ": give 1 to 65536 draws per token");
  TORCH_CHECK_VALUE(lookahead >= 0, "--teacher.lookahead is ", lookahead,
                    ": give a number of micro-batches, 0 for lock-step");
  TORCH_CHECK_VALUE(batch >= 0, "--teacher.batch is ", batch,
                    ": give a number of sequences, 0 for one micro-batch");
  transport_from_name(transport);
  TORCH_CHECK_VALUE(train_steps >= 0, "--teacher.train-steps is ", train_steps, ": give 0 or more");
  TORCH_CHECK_VALUE(train_steps == 0 || model.path.empty(), "--teacher.path ", model.path,
                    " and --teacher.train-steps ", train_steps,
                    " exclude each other: a teacher is either opened or trained first");
  TORCH_CHECK_VALUE(std::isfinite(train_lr) && train_lr > 0, "--teacher.train-lr is ", train_lr,
                    ": give a finite number above 0");
}

void TeacherConfig::check_used(const std::vector<Payload>& payloads) const {
  const auto check = [&](const char* option, int64_t value, int64_t usual, Payload wanted) {
    const bool used = std::find(payloads.begin(), payloads.end(), wanted) != payloads.end();
    TORCH_CHECK_VALUE(used || value == usual, "--teacher.", option, " is ", value,
                      ", but --teacher.payload is ", payload, ": give --teacher.payload ",
                      payload_name(wanted), ", or --teacher.", option, " ", usual);
  };
  check("topk", topk, kUsualTopk, Payload::kTopk);
  check("draws", draws, kUsualDraws, Payload::kSample);
}

std::optional<at::ScalarType> TeacherConfig::weights_dtype(at::ScalarType compute) const {
  if (weights == "fp32") return at::kFloat;
  if (weights == "bf16" || compute == at::kBFloat16) return at::kBFloat16;
  return std::nullopt;
}

PayloadSpec TeacherConfig::payload_spec(const TransformerConfig& shape,
                                        at::ScalarType compute) const {
  PayloadSpec spec;
  spec.kind = payload_from_name(payload);
  spec.vocab = shape.vocab;
  spec.width = shape.width;
  spec.entries = spec.kind == Payload::kTopk ? topk : spec.kind == Payload::kSample ? draws : 0;
  spec.dtype = values == "auto" ? compute : value_type_from_name(values, "teacher.values");
  return spec;
}

}  // namespace temper
