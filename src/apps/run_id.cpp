#include "apps/run_id.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <random>
#include <sstream>

#include "launch/agreement.h"
#include "store/job_starts.h"
#include "store/sidecar.h"

namespace wan::apps {

std::string new_run_id() {
  std::random_device random;
  std::string time = store::utc_now();
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return fmt::format("{}-{:08x}", time, random());
}

std::vector<std::string> earlier_runs_of_job(comm::Communicator& world, const store::OutputFolder& folder,
                                             const std::string& job, const std::string& run) {
  const std::string listed = launch::on_rank_0(world, [&] {
    const char* count = std::getenv("SLURM_RESTART_COUNT");  // NOLINT(concurrency-mt-unsafe)
    const bool is_restart = count != nullptr && std::strtol(count, nullptr, 10) > 0;
    return fmt::format("{}", fmt::join(store::note_start(folder, job, run, is_restart), "\n"));
  });
  std::vector<std::string> runs;
  std::istringstream lines(listed);
  for (std::string line; std::getline(lines, line);) runs.push_back(line);
  return runs;
}

}  // namespace wan::apps
