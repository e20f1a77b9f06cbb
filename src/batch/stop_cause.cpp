#include "batch/stop_cause.h"

namespace wan::batch {

std::string_view to_string(StopCause cause) {
  switch (cause) {
    case StopCause::none:
      return "";
    case StopCause::other_rank:
      return "other_rank";
    case StopCause::time_limit:
      return "time_limit";
    case StopCause::job_end:
      return "job_end";
    case StopCause::signal:
      return "signal";
    case StopCause::stop_file:
      return "stop_file";
  }
  return "";
}

}  // namespace wan::batch
