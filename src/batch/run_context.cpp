#include "batch/run_context.h"

#include <algorithm>

namespace wan::batch {

bool RunContext::is_of_this_job(const std::string& run) const {
  return run == origin.run || std::ranges::find(job.earlier_runs, run) != job.earlier_runs.end();
}

bool RunContext::has_crashed(const std::string& run) const {
  return std::ranges::find(job.crashed_runs, run) != job.crashed_runs.end();
}

}  // namespace wan::batch
