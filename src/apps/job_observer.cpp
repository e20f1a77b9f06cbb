#include "apps/job_observer.h"

#include <algorithm>

#include "batch/item.h"
#include "comm/watch/watchdog.h"
#include "core/environment.h"

namespace wan::apps {
namespace {

void note(std::string_view extension, std::string_view text) noexcept {
  try {
    store::note_beside(store::job_start_record(read_environment()), extension, text);
  } catch (const std::exception&) {
    return;
  }
}

/// Rows that an earlier run failed to make and that this run does not try again. The record of a failure may
/// lie beside a video that counts, or be of another request.
std::int64_t count_failed_before(const batch::RunContext& context,
                                 const std::vector<manifest::ManifestRow>& rows, const Task& task) {
  return std::ranges::count_if(rows, [&](const manifest::ManifestRow& row) {
    if (!store::plain_file_size(context.folder.failure(row.id))) return false;
    const batch::FoundItem found = batch::look_up(row, context, task, /*by_content=*/false);
    return found.status == batch::ItemStatus::failed;
  });
}

}  // namespace

void note_mpi_is_up() noexcept { note("mpi", ""); }

void note_error(const char* message) noexcept { note("error", std::string(message) + "\n"); }

void end_for_hang(const std::string& message) {
  note_error(message.c_str());
  comm::end_process(message);
}

std::unique_ptr<display::JobProgress> observe_for_job(const batch::RunContext& context,
                                                      const std::vector<manifest::ManifestRow>& rows,
                                                      const Task& task, std::function<double()> now_s) {
  if (context.job_start.empty() || context.place.world_rank % context.origin.ranks != 0) return nullptr;
  return std::make_unique<display::JobProgress>(
      display::JobProgress::Place{
          .start_record = context.job_start,
          .run = context.origin.run,
          .group_index = context.place.group_index,
          .group_count = context.place.group_count,
          .group_ranks = context.origin.ranks,
          .failed_before = context.place.group_index == 0 ? count_failed_before(context, rows, task) : 0},
      std::move(now_s));
}

}  // namespace wan::apps
