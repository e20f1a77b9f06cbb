#include "store/holders.h"

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <csignal>

#include "core/check.h"
#include "core/strings.h"
#include "store/claims.h"
#include "store/output_folder.h"
#include "store/status_files.h"

namespace wan::store {
namespace {

constexpr std::string_view owner_prefix = ".owner-";

constexpr std::chrono::seconds least_silence{10};

bool has_ended(const OwnerFile& owner) {
  const std::string here = ClaimOwner::this_process({}, {}).machine;
  return !here.empty() && owner.machine == here && owner.worker.pid > 0 &&
         ::kill(static_cast<pid_t>(owner.worker.pid), 0) != 0 && errno == ESRCH;
}

bool is_alive(const std::filesystem::path& claims, const OwnerFile& owner,
              std::chrono::milliseconds stale_after) {
  if (has_ended(owner)) return false;
  std::error_code error;
  const auto beat = std::filesystem::last_write_time(owner_file(claims, owner.token), error);
  if (error) return false;  // the run has ended in order
  const auto silence = std::chrono::abs(std::filesystem::file_time_type::clock::now() - beat);
  return silence < std::max<std::chrono::milliseconds>(2 * stale_after, least_silence);
}

std::string describe(const WorkerStatus& worker) {
  return printable(fmt::format("{}, process {}{}", worker.host, worker.pid,
                               worker.job.empty() ? std::string() : fmt::format(", job {}", worker.job)));
}

}  // namespace

bool is_run_alive(const std::filesystem::path& claims, const std::string& run,
                  std::chrono::milliseconds stale_after) {
  for (const std::string& name : names_in(claims)) {
    if (!name.starts_with(owner_prefix)) continue;
    const auto owner = read_owner_file(claims / name);
    if (owner && owner->worker.run == run && is_alive(claims, *owner, stale_after)) return true;
  }
  return false;
}

std::optional<std::string> find_holder(const std::filesystem::path& claims, const std::string& id,
                                       std::chrono::milliseconds stale_after) {
  constexpr int most_generations = 1000;
  constexpr int largest_gap = 4;  // a crash in the middle of a release leaves such gaps
  std::optional<OwnerFile> holder;
  for (int generation = 0, seen = 0; generation <= seen + largest_gap && generation < most_generations;
       ++generation) {
    const std::string name =
        generation == 0 ? fmt::format("{}.claim", id) : fmt::format("{}.claim.{}", id, generation);
    auto owner = read_owner_file(claims / name);
    if (!owner) continue;
    seen = generation;
    holder = std::move(owner);
  }
  if (!holder || !is_alive(claims, *holder, stale_after)) return std::nullopt;
  return describe(holder->worker);
}

}  // namespace wan::store
