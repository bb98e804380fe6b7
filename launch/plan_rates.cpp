#include "launch/plan_rates.h"

namespace temper {

namespace {

double head_flops(const TransformerConfig& model) {
  return 2.0 * static_cast<double>(model.width) * static_cast<double>(model.vocab);
}

}  // namespace

double teacher_flops(const TransformerConfig& teacher, int64_t seq, Payload payload) {
  return teacher.forward_flops_per_token(seq) -
         (payload == Payload::kHidden ? head_flops(teacher) : 0);
}

double student_flops(const TransformerConfig& student, const TransformerConfig& teacher,
                     int64_t seq, Payload payload) {
  return 3 * student.forward_flops_per_token(seq) +
         (payload == Payload::kHidden ? head_flops(teacher) : 0);
}

void set_rates_from_flops(std::vector<PayloadRates>& rates, const TransformerConfig& teacher,
                          const TransformerConfig& student, int64_t seq, double flops_per_s) {
  for (PayloadRates& each : rates) {
    each.teacher_seconds = teacher_flops(teacher, seq, each.payload) / flops_per_s;
    each.student_seconds = student_flops(student, teacher, seq, each.payload) / flops_per_s;
  }
}

void set_rates_from_tokens(std::vector<PayloadRates>& rates, const TransformerConfig& teacher,
                           const TransformerConfig& student, int64_t seq,
                           double teacher_tokens_per_s, double student_tokens_per_s) {
  for (PayloadRates& each : rates) {
    each.teacher_seconds = teacher_flops(teacher, seq, each.payload) /
                           teacher_flops(teacher, seq, Payload::kFull) / teacher_tokens_per_s;
    each.student_seconds = student_flops(student, teacher, seq, each.payload) /
                           student_flops(student, teacher, seq, Payload::kFull) /
                           student_tokens_per_s;
  }
}

}  // namespace temper
