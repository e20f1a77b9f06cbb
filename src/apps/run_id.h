#pragma once

#include <string>
#include <vector>

#include "batch/run_context.h"
#include "comm/communicator.h"
#include "store/output_folder.h"

namespace wan::apps {

/// A new id for one start of a program, "20261128T192030Z-1a2b3c4d". It names the start in its records and
/// its trace files. One rank makes it and sends it to the others.
std::string new_run_id();

/// The scheduler's job with its earlier runs, on every rank. Slurm restarts a job that has stopped in time.
/// --no-resume and --retry-failed do not touch the results of its earlier starts. Also notes this start.
batch::JobIdentity identify_job(comm::Communicator& world, const store::OutputFolder& folder,
                                const std::string& job, const std::string& run);

}  // namespace wan::apps
