// A process that Slurm started beside others without PMI: MPI would not start, with words that help
// nobody, or each process would believe to be alone, run the whole job, and write over the others'
// files.
#pragma once

#include "comm/mpi/communicator.h"

namespace temper {

/// True if this process is a task of a Slurm step that was started without PMI: even a single one
/// cannot start Open MPI then. The step's first task has said so on standard error. To be called
/// before MPI starts.
bool started_without_pmi();

/// Throws AgreedError, which the step's first task reports, if `world` is this process alone within
/// a Slurm step that has more tasks: PMI is there, but not one that this MPI speaks.
void refuse_alone_under_slurm(const Communicator& world);

}  // namespace temper
