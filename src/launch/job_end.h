#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/environment.h"

namespace wan::launch {

/// When the scheduler will end the job that this process runs in, as far as it can be known.
struct JobEnd {
  /// From this program's start; empty: there is no job, no limit, or nobody knows it. The end may come while
  /// the program starts.
  std::optional<double> limit_s;
  std::string problem;  ///< for the user: why the end could not be read; empty if all is well
};

/// Runs a command and returns its standard output; nothing if it could not be run, failed, or took too long.
using AskCommand = std::function<std::optional<std::string>(const std::vector<std::string>& words)>;

/// The end of the Slurm job in whose environment this process is: SLURM_JOB_END_TIME, or where an older Slurm
/// does not set it, the time left that `squeue` prints. `now_unix_s`: this host's clock; `age_s`: seconds
/// since this program's start. The values are untrusted: one that cannot be is ignored with a reason.
JobEnd slurm_job_end(const Environment& environment, double now_unix_s, double age_s, const AskCommand& ask);

/// The seconds of a time left as `squeue --format=%L` prints it: [D-][HH:]MM:SS. Nothing for "UNLIMITED" and
/// everything else.
std::optional<double> parse_time_left(std::string_view text);

}  // namespace wan::launch
