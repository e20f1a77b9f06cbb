#include "batch/run_context.h"

#include <algorithm>

namespace wan::batch {

bool RunContext::is_of_this_job(const std::string& run) const {
  return run == origin.run || std::ranges::find(job.earlier_runs, run) != job.earlier_runs.end();
}

}  // namespace wan::batch
