#include "apps/stop_limit.h"

#include <chrono>

#include "core/check.h"
#include "core/command.h"
#include "core/environment.h"
#include "core/strings.h"
#include "launch/agreement.h"
#include "launch/job_end.h"
#include "store/stop_file.h"

namespace wan::apps {
namespace {

constexpr double squeue_timeout_s = 10;

}  // namespace

StopLimit find_stop_limit(comm::Communicator& world, const launch::Options& options, double age_s, Log& log) {
  const std::string found = launch::on_rank_0(world, [&] {
    const std::chrono::duration<double> now = std::chrono::system_clock::now().time_since_epoch();
    const launch::JobEnd end = launch::slurm_job_end(
        read_environment(), now.count(), age_s,
        [](const std::vector<std::string>& words) { return output_of_command(words, squeue_timeout_s); });
    if (!end.problem.empty()) log.warn("{}", end.problem);
    return end.limit_s ? fmt::format("{}", *end.limit_s) : std::string();
  });
  StopLimit limit{.limit_s = options.time_limit_s};
  if (found.empty()) return limit;
  const double job_limit_s = std::stod(found);
  if (limit.limit_s && *limit.limit_s <= job_limit_s) return limit;
  log.detail("the Slurm job ends {} after the program's start: the run stops in time",
             format_duration(job_limit_s));
  return {.limit_s = job_limit_s, .cause = batch::StopCause::job_end};
}

std::string stop_reason(batch::StopCause cause, std::string_view signal,
                        const std::filesystem::path& output_folder, const StopLimit& limit) {
  using batch::StopCause;
  switch (cause) {
    case StopCause::stop_file:
      return fmt::format("stopped: {} is there", printable(store::stop_file(output_folder).string()));
    case StopCause::signal:
      if (signal.empty()) break;
      return fmt::format("stopped: {} came", signal);
    case StopCause::time_limit:
      return fmt::format("stopped: the time limit of {} is near", format_duration(limit.limit_s.value_or(0)));
    case StopCause::job_end:
      return fmt::format("stopped: the end of the Slurm job, {} after the start, is near",
                         format_duration(limit.limit_s.value_or(0)));
    default:
      break;
  }
  return "stopped: another rank was told to stop";
}

std::string stop_note(StopLevel level, std::string_view signal) {
  if (level == StopLevel::leave) {
    return fmt::format("a second signal, {}, came: the run ends now, with what is saved already", signal);
  }
  return fmt::format(
      "{} came: the step in hand is finished and the item saved; another SIGTERM or SIGINT (Ctrl-C), 5 s "
      "later "
      "or more, ends the run at once with what is saved already",
      signal);
}

}  // namespace wan::apps
