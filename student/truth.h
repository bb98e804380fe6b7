// A model against the process that wrote its corpus, where that is known: what no sample of text
// can tell, without the sample's noise.
#pragma once

#include <optional>

#include "comm/mpi/communicator.h"
#include "model/transformer.h"
#include "student/evaluation.h"

namespace temper {

/// Means over the tokens whose labels count; π is the true distribution of the next token given the
/// row so far, p the model's at the temperature asked for.
struct Truth {
  double kl = 0;                 ///< KL(π ‖ p), nats
  double entropy = 0;            ///< H(π), nats: the NLL that no model can beat
  double model_entropy = 0;      ///< H(p): sharp models have little
  double calibration_error = 0;  ///< as ece (metrics.h), 15 bins of the largest p, but with π of
                                 ///< that id in place of whether it was right
  int64_t tokens = 0;
};

/// Nothing where the process is not known. The true distribution is computed token by token: `data`
/// may want fewer tokens than for other metrics. Collective.
std::optional<Truth> compare_with_truth(const Transformer& model, const HeldOut& data,
                                        double temperature, at::ScalarType compute,
                                        const Communicator& comm);

}  // namespace temper
