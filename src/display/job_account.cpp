#include "display/job_account.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <ctime>

#include "core/printable.h"

namespace wan::display {
namespace {

constexpr std::size_t max_failures = 20;

std::string lower(std::string text) {
  std::ranges::transform(text, text.begin(),
                         [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

/// "2026-11-29 01:00", in the time zone of this machine.
std::string time_text(std::int64_t unix_s) {
  const auto time = static_cast<std::time_t>(unix_s);
  std::tm fields{};
  if (::localtime_r(&time, &fields) == nullptr) return "?";
  std::array<char, 32> text{};
  const std::size_t size = std::strftime(text.data(), text.size(), "%Y-%m-%d %H:%M", &fields);
  return {text.data(), size};
}

/// "8:00:05"
std::string length_text(std::int64_t seconds) {
  return fmt::format("{}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
}

bool is_live(const QueueState& queue) {
  return queue.state == "RUNNING" || queue.state == "SUSPENDED" || queue.state == "COMPLETING";
}

/// Why a start ended. The last one may still run.
std::string reason_of(const store::JobStart& start, bool is_last, const QueueState& queue) {
  if (!start.reason.empty()) return printable(start.reason, 100);
  if (is_last && is_live(queue)) return "(it runs)";
  if (is_last && queue.state.empty()) return "(it runs, or it was killed: Slurm does not tell)";
  if (start.was_told_to_stop) return "killed after it was told to stop, before it could end in order";
  return "killed without notice: a preemption without grace, a lost node, or scancel";
}

std::string starts_text(std::span<const store::JobStart> starts, const QueueState& queue) {
  std::string text =
      fmt::format("  {:>5}  {:<16}  {:>9}  {:>4}  {}\n", "start", "began", "ran", "GPUs", "ended");
  for (const store::JobStart& start : starts) {
    text += fmt::format("  {:>5}  {:<16}  {:>9}  {:>4}  {}\n", start.number, time_text(start.began_s),
                        length_text(start.ended_s - start.began_s), start.gpus,
                        reason_of(start, &start == &starts.back(), queue));
  }
  return text;
}

std::string hours_text(std::span<const store::JobStart> starts) {
  const GpuHours hours = gpu_hours(starts);
  if (hours.total <= 0) return "  GPU-hours: none, the job has no GPUs\n";
  return fmt::format(
      "  GPU-hours: {:.3f} in all: {:.3f} used, {:.3f} lost ({} step{} made again), {:.3f} idle\n",
      hours.total, hours.used, hours.lost, hours.lost_steps, hours.lost_steps == 1 ? "" : "s",
      std::max(hours.idle(), 0.0));
}

std::string failures_text(const store::BatchStatus& status) {
  if (status.failures.empty()) return {};
  std::string text =
      fmt::format("  failed: {} row{}\n", status.failures.size(), status.failures.size() == 1 ? "" : "s");
  for (std::size_t i = 0; i < std::min(status.failures.size(), max_failures); ++i) {
    const store::FailureStatus& failure = status.failures[i];
    const std::string place =
        failure.line > 0 ? fmt::format(" ({}, line {})", printable(failure.manifest), failure.line) : "";
    text += fmt::format("    {}{}  {}: {}\n", printable(failure.id, 60), place, printable(failure.stage, 20),
                        printable(failure.message, 300));
  }
  if (status.failures.size() > max_failures)
    text += fmt::format("    ... and {} more\n", status.failures.size() - max_failures);
  return text;
}

/// The one command to type next.
std::string next_text(const QueueState& queue, const store::JobStart& last, const store::BatchStatus& status,
                      const std::string& look, const std::string& retry) {
  const std::string again = last.command.empty() ? "the same sbatch command" : printable(last.command, 4000);
  if (last.will_start_again && last.has_ended) {
    return fmt::format("  next: nothing, Slurm starts the job again; to watch it: squeue -j {}\n", queue.job);
  }
  if (!last.has_ended && is_live(queue))
    return fmt::format("  next: nothing, the job runs; to watch it: {}\n", look);
  if (last.exit_code == 3 || (status.open() == 0 && status.failed > 0)) {
    return fmt::format("  next, once the causes of the failures above are mended: {} {}\n", again, retry);
  }
  if (status.open() == 0 && status.rows > 0)
    return fmt::format("  next: nothing, all rows are done; see {}\n", look);
  if (status.has_stop_file)
    return fmt::format("  next, once the file STOP in the output folder is removed: {}\n", again);
  if (last.exit_code == 1 || last.exit_code >= 128)
    return fmt::format("  next, once the cause in the job's log is mended: {}\n", again);
  return fmt::format("  next: {}\n", again);
}

}  // namespace

std::string queue_words(const QueueState& queue, std::span<const store::JobStart> starts) {
  if (queue.state.empty()) return {};
  // "JobHeldUser", "JobHeldAdmin", "job requeued in held state"
  if (queue.state == "PENDING" && lower(queue.reason).find("held") != std::string::npos)
    return fmt::format("held: `scontrol release {}` lets it go", queue.job);
  const std::string reason = queue.reason.empty() || queue.reason == "None"
                                 ? std::string()
                                 : fmt::format(" ({})", printable(queue.reason, 60));
  if (queue.state == "PENDING") {
    const bool was_preempted = !starts.empty() && starts.back().reason == "preempted";
    return (was_preempted ? "pending after a preemption" : "pending") + reason;
  }
  if (queue.state == "RUNNING" || queue.state == "PREEMPTED") return lower(queue.state);
  return printable(lower(queue.state), 40) + reason;
}

GpuHours gpu_hours(std::span<const store::JobStart> starts) {
  constexpr double s_per_hour = 3600;
  GpuHours hours;
  for (const store::JobStart& start : starts) {
    hours.total += start.rank_s() / s_per_hour;
    for (const store::GroupProgress& group : start.groups) {
      hours.used += (group.used_rank_s - group.lost_rank_s) / s_per_hour;
      hours.lost += group.lost_rank_s / s_per_hour;
      hours.lost_steps += group.lost_steps;
    }
  }
  return hours;
}

std::string account_text(const QueueState& queue, std::span<const store::JobStart> starts,
                         const store::BatchStatus& status, const std::string& look,
                         const std::string& retry) {
  const std::string words = queue_words(queue, starts);
  std::string text = fmt::format("job {}{}{}: {} start{}, {} of {} rows done", printable(queue.job, 40),
                                 words.empty() ? "" : ", ", words, starts.size(),
                                 starts.size() == 1 ? "" : "s", status.done, status.rows);
  text += status.failed > 0 ? fmt::format(", {} failed\n", status.failed) : "\n";
  if (starts.empty()) return text;
  return text + starts_text(starts, queue) + hours_text(starts) + failures_text(status) +
         next_text(queue, starts.back(), status, look, retry);
}

}  // namespace wan::display
