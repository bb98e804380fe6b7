// Matching hidden states: the student's last hidden states, through a learned projection, are drawn
// to the teacher's. Beside the loss of the logits, for the payload hidden.
#pragma once

#include <ATen/core/Tensor.h>

#include <boost/program_options/options_description.hpp>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "comm/collectives.h"
#include "student/train_config.h"

namespace temper {

struct HiddenMatchConfig {
  double weight = 0;            ///< γ; 0: no matching
  std::string kind = "cosine";  ///< or mse

  /// Declares `loss.hidden-weight` and `loss.hidden-kind`.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option.
  void validate() const;
};

/// For a token with hidden states h (student, C) and t (teacher, D), and a projection P (D, C):
///
///   cosine   1 − cos(P h, t)         (DistilBERT, Sanh et al. 2019, arXiv 1910.01108)
///   mse      |P h − t|² / D          (TinyBERT, Jiao et al. 2020, arXiv 1909.10351)
///
/// P begins as the identity where both are as wide, else with random numbers of variance 1/C, the
/// same on every rank; it learns by AdamW at the student's rate, and is no part of the student.
class HiddenMatch {
 public:
  /// `like`: dtype and device of the weights.
  HiddenMatch(const HiddenMatchConfig& config, const TrainConfig& train, int64_t student_width,
              int64_t teacher_width, uint64_t seed, const at::Tensor& like);

  /// hidden (N, C) and teacher (N, D) of any floating dtype; labels (N) int64: tokens whose label
  /// is kIgnoredLabel do not count. Adds the gradient of γ·Σ by the hidden states to
  /// `hidden_gradient` (N, C) and that by P to gradient(). Returns Σ over the tokens that count,
  /// without γ.
  double loss(const at::Tensor& hidden, const at::Tensor& teacher, const at::Tensor& labels,
              const at::Tensor& hidden_gradient);

  const at::Tensor& projection() const { return projection_; }  // (D, C)
  const at::Tensor& gradient() const { return gradient_; }      // (D, C), of the sum since update()
  /// All that it has learnt, by name; the tensors themselves, the same on every rank.
  std::vector<std::pair<std::string, at::Tensor>> state() const {
    return {{"projection", projection_},
            {"first_moment", first_moment_},
            {"second_moment", second_moment_},
            {"steps", steps_}};
  }
  /// Sums the gradient over the ranks, updates P by `scale` times that, and clears it. Collective.
  void update(double learning_rate, double scale, Collectives& students);
  /// Clears the gradient of a step that is not taken.
  void discard();

 private:
  HiddenMatchConfig config_;
  TrainConfig train_;
  at::Tensor projection_, gradient_;         // (D, C)
  at::Tensor first_moment_, second_moment_;  // (D, C)
  at::Tensor steps_;                         // ()
};

}  // namespace temper
