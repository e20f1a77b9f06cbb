#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "batch/run_context.h"
#include "display/job_progress.h"
#include "manifest/manifest.h"
#include "wan/request.h"

namespace wan::apps {

/// A program leaves notes in the record of its Slurm job (store/job_record.h). All of this does nothing in a
/// run that the batch scripts did not start.

/// Notes that MPI has been initialised. For rank 0.
void note_mpi_is_up() noexcept;
/// Notes that an error, not a signal, ends the run.
void note_error(const char* message) noexcept;
/// Ends this process with exit code 1, because a collective hangs on the device.
[[noreturn]] void end_for_hang(const std::string& message);

/// Writes the progress of a group's leader; null if there is no such record.
std::unique_ptr<display::JobProgress> observe_for_job(const batch::RunContext& context,
                                                      const std::vector<manifest::ManifestRow>& rows,
                                                      const Task& task, std::function<double()> now_s);

}  // namespace wan::apps
