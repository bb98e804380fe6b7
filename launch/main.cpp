#include <cstdlib>

#include "comm/mpi/environment.h"
#include "launch/alone_under_slurm.h"
#include "launch/program.h"
#include "launch/stop_request.h"

int main(int argc, char** argv) {
  temper::catch_stop_signals();
  if (temper::started_without_pmi()) return temper::kBadConfiguration;
  // LibTorch reads this with its first tensor: larger ones lie on huge pages where the system lets
  // a program ask for them, and a step of training is 3 % faster.
  setenv("THP_MEM_ALLOC_ENABLE", "1", /*overwrite=*/0);
  const temper::MpiEnvironment mpi(&argc, &argv);
  const temper::Communicator world = temper::Communicator::world();
  return temper::run_program({argv + 1, argv + argc}, world);
}
