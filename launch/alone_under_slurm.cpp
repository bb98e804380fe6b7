#include "launch/alone_under_slurm.h"

#include <cstdio>
#include <cstdlib>
#include <string>

#include "comm/agree.h"

namespace temper {

namespace {

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : "";
}

bool is_set(const char* name) { return std::getenv(name) != nullptr; }

// Started by srun, not by mpirun within a step. SLURM_NTASKS alone stands in the batch shell, too,
// where one process is right.
bool is_task_of_step() { return is_set("SLURM_STEP_ID") && !is_set("OMPI_COMM_WORLD_SIZE"); }

bool first_task() {
  const std::string task = variable("SLURM_PROCID");
  return task.empty() || task == "0";
}

std::string advice(const std::string& what) {
  return "SLURM_NTASKS is " + variable("SLURM_NTASKS") + ", but " + what +
         ": start with 'srun --mpi=pmix' ('srun --mpi=list' names what this cluster has), or with "
         "launch/run.sh, which uses mpirun";
}

}  // namespace

bool started_without_pmi() {
  const bool has_pmi = is_set("PMIX_RANK") || is_set("PMI_RANK") || is_set("PMI_FD");
  if (!is_task_of_step() || has_pmi) return false;
  if (first_task())
    std::fprintf(stderr, "temper: error: %s\n",
                 advice("Slurm started the tasks without PMI").c_str());
  return true;
}

void refuse_alone_under_slurm(const Communicator& world) {
  const bool one_task =
      variable("SLURM_STEP_NUM_TASKS") == "1" || std::atoi(variable("SLURM_NTASKS").c_str()) <= 1;
  if (world.size() > 1 || !is_task_of_step() || one_task) return;
  throw AgreedError(advice("MPI finds this process alone"), first_task(), /*is_user_error=*/true);
}

}  // namespace temper
