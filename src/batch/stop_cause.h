#pragma once

#include <cstdint>
#include <string_view>

namespace wan::batch {

/// Why a run stops before all is done. If there are several causes, on one rank or on several, the last one
/// in this list is named.
enum class StopCause : std::int64_t {
  none,
  other_rank,  ///< another rank or group was told to stop
  time_limit,  ///< that the user set
  job_end,     ///< of the scheduler's job
  signal,
  stop_file,
};

/// The word in the run's record: "" for none, "other_rank", "time_limit", "job_end", "signal", "stop_file".
std::string_view to_string(StopCause cause);

}  // namespace wan::batch
