#include "apps/run_id.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <cstdlib>
#include <random>
#include <sstream>

#include "core/environment.h"
#include "launch/agreement.h"
#include "store/job_record.h"
#include "store/job_starts.h"
#include "store/sidecar.h"

namespace wan::apps {
namespace {

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> all;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) all.push_back(line);
  return all;
}

}  // namespace

std::string new_run_id() {
  std::random_device random;
  std::string time = store::utc_now();
  std::erase_if(time, [](char c) { return c == '-' || c == ':'; });
  return fmt::format("{}-{:08x}", time, random());
}

batch::JobIdentity identify_job(comm::Communicator& world, const store::OutputFolder& folder,
                                const std::string& job, const std::string& run) {
  const std::string earlier = launch::on_rank_0(world, [&] {
    const char* count = std::getenv("SLURM_RESTART_COUNT");  // NOLINT(concurrency-mt-unsafe)
    const bool is_restart = count != nullptr && std::strtol(count, nullptr, 10) > 0;
    return fmt::format("{}", fmt::join(store::note_start(folder, job, run, is_restart), "\n"));
  });
  const std::string crashed = launch::on_rank_0(world, [] {
    const auto record = store::job_start_record(read_environment());
    return fmt::format("{}", fmt::join(store::crashed_runs(record), "\n"));
  });
  return {.id = job, .earlier_runs = split_lines(earlier), .crashed_runs = split_lines(crashed)};
}

}  // namespace wan::apps
