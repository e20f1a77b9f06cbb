#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "batch/stop_cause.h"
#include "comm/communicator.h"
#include "core/log.h"
#include "core/stop_signals.h"
#include "launch/options.h"

namespace wan::apps {

/// The time at which a run has to be over.
struct StopLimit {
  std::optional<double> limit_s;                          ///< from the program's start; empty: none
  batch::StopCause cause = batch::StopCause::time_limit;  ///< whose limit it is: time_limit or job_end
};

/// The earlier of --time-limit and the end of the Slurm job, which rank 0 finds out. `age_s`: of the program.
/// Equal on all ranks. Collective.
StopLimit find_stop_limit(comm::Communicator& world, const launch::Options& options, double age_s, Log& log);

/// Why the run stopped, for its log and its trace. `signal`: the name of the signal that came to this rank.
std::string stop_reason(batch::StopCause cause, std::string_view signal,
                        const std::filesystem::path& output_folder, const StopLimit& limit);

/// Says what the program does now that a signal has come.
std::string stop_note(StopLevel level, std::string_view signal);

}  // namespace wan::apps
