// What hard labels ask of a model, and what is asked of its distribution whatever the label is: the
// part of a loss that needs no teacher.
#pragma once

#include <boost/program_options/options_description.hpp>

namespace temper {

/// Of a token with logits z and label y; p_τ = softmax(z/τ), p = p_1, V ids:
///
///   L = f·CE_τ − c·H(p) + λ·(log Σ_j exp z_j)²
///
///   CE_τ = −Σ_j y_j log p_τ,j,   y = (1 − ε)·onehot(label) + ε/V
///          label smoothing ε (Szegedy et al. 2016, arXiv 1512.00567); softmax tempering at τ
///          (Dabre and Fujita 2020, arXiv 2009.09372)
///   f      τ with rescale: then dL/dz = p_τ − y, of the size that it has at τ = 1; else 1: (p_τ −
///   y)/τ H(p)   = −Σ p log p, rewarded by c: the confidence penalty (Pereyra et al. 2017, arXiv
///   1701.06548),
///          dL/dz_j = c·p_j·(log p_j + H)
///   λ      the z-loss (PaLM, Chowdhery et al. 2022, arXiv 2204.02311): keeps the softmax's
///   denominator
///          near 1, dL/dz_j = 2λ·log Σ exp z · p_j
struct LabelLossConfig {
  double smoothing = 0;           ///< ε, 0 to below 1
  double temperature = 1;         ///< τ of the hard labels' softmax
  bool rescale = true;            ///< f = τ
  double confidence_penalty = 0;  ///< c
  double z_loss = 0;              ///< λ

  /// Declares `loss.label-smoothing`, `loss.hard-temperature`, `loss.hard-rescale`,
  /// `loss.confidence-penalty` and `loss.z-loss`.
  void add_options(boost::program_options::options_description& options);
  /// Throws c10::ValueError naming the option.
  void validate() const;

  /// No more than a cross-entropy at τ = 1, smoothed or not.
  bool plain() const { return temperature == 1 && confidence_penalty == 0 && z_loss == 0; }
  double factor() const { return rescale ? temperature : 1; }  ///< f
};

}  // namespace temper
