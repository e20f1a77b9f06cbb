#pragma once

#include <string>
#include <vector>

#include "store/output_folder.h"

namespace wan::store {

// `--no-resume` and `--retry-failed` are for a job's first start. When the scheduler starts the job again, it
// goes on with its own results. OUT/.claims/.starts-<job>.json holds the run ids of a job's starts.

/// Notes that `run` is a start of the scheduler's job. Returns the runs of its earlier starts. They are none
/// unless `is_restart`, because schedulers use job ids again. Notes nothing without a job id. Throws Error.
std::vector<std::string> note_start(const OutputFolder& folder, const std::string& job,
                                    const std::string& run, bool is_restart);

/// Call it when the job will not be started again.
void forget_starts(const OutputFolder& folder, const std::string& job);

}  // namespace wan::store
