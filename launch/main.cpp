#include "comm/mpi/environment.h"
#include "launch/program.h"

int main(int argc, char** argv) {
  const temper::MpiEnvironment mpi(&argc, &argv);
  const temper::Communicator world = temper::Communicator::world();
  return temper::run_program({argv + 1, argv + argc}, world);
}
