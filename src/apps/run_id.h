#pragma once

#include <string>
#include <vector>

#include "comm/communicator.h"
#include "store/output_folder.h"

namespace wan::apps {

/// A new id for one start of a program, "20261128T192030Z-1a2b3c4d": it names the start in its records and
/// its trace files. Made on one rank and sent to the others.
std::string new_run_id();

/// The runs of this scheduler's job before this one, on every rank: Slurm starts a job again that has stopped
/// in time, and --no-resume and --retry-failed leave alone what its earlier starts made. Notes this start.
std::vector<std::string> earlier_runs_of_job(comm::Communicator& world, const store::OutputFolder& folder,
                                             const std::string& job, const std::string& run);

}  // namespace wan::apps
