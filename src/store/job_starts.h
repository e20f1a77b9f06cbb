#pragma once

#include <string>
#include <vector>

#include "store/output_folder.h"

namespace wan::store {

// `--no-resume` and `--retry-failed` are of a job's first start: when the scheduler starts it again, it goes
// on with what it made itself. OUT/.claims/.starts-<job>.json holds the run ids of a job's starts.

/// Notes that `run` is a start of the scheduler's job. Returns the runs of its earlier starts: none unless
/// `is_restart`, as job ids are used again. Without a job id nothing is noted. Throws Error.
std::vector<std::string> note_start(const OutputFolder& folder, const std::string& job,
                                    const std::string& run, bool is_restart);

/// The job will not be started again.
void forget_starts(const OutputFolder& folder, const std::string& job);

}  // namespace wan::store
