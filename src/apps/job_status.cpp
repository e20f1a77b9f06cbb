#include "apps/job_status.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <memory>
#include <system_error>

#include "core/check.h"
#include "core/printable.h"
#include "core/strings.h"
#include "store/batch_status.h"
#include "store/job_record.h"

namespace wan::apps {
namespace {

constexpr std::size_t most_jobs = 20;

struct PipeCloser {
  void operator()(std::FILE* pipe) const { ::pclose(pipe); }
};

/// The output of a shell command; empty if it cannot be run.
std::string output_of(const std::string& command) {
  const std::unique_ptr<std::FILE, PipeCloser> pipe(::popen(command.c_str(), "re"));  // NOLINT(cert-env33-c)
  std::string text;
  if (!pipe) return text;
  std::array<char, 4096> part{};
  while (const std::size_t size = std::fread(part.data(), 1, part.size(), pipe.get()))
    text.append(part.data(), size);
  return text;
}

std::string take_field(std::string& line) {
  const std::size_t end = std::min(line.find('|'), line.size());
  std::string field = line.substr(0, end);
  line.erase(0, end + 1);
  return field;
}

/// The command that shows a batch, by this program where it lies: users have a prefix, a module or a
/// checkout.
std::string status_command(const std::filesystem::path& folder) {
  std::error_code failed;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", failed);
  return fmt::format("{} status {}", shell_quote(failed ? "wan_batch" : program.string()),
                     shell_quote(folder.string()));
}

}  // namespace

std::vector<display::QueueState> ask_queue(const std::vector<std::string>& jobs) {
  std::vector<display::QueueState> states;
  for (const std::string& job : jobs) {
    WAN_CHECK(job.find_first_not_of("0123456789_") == std::string::npos, "'{}' is no job id", job);
    states.push_back({.job = job, .state = {}, .reason = {}});
  }
  if (jobs.empty()) return states;
  std::string text = output_of(
      fmt::format("timeout 10 squeue --noheader --array --jobs={} '--format=%i|%T|%r' 2>/dev/null </dev/null",
                  fmt::join(jobs, ",")));
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string line = text.substr(0, end);
    text.erase(0, end + 1);
    const std::string job = take_field(line);
    const auto found = std::ranges::find(states, job, &display::QueueState::job);
    if (found == states.end()) continue;
    found->state = take_field(line);
    found->reason = line;
  }
  return states;
}

std::string job_account(const std::filesystem::path& folder, const std::string& job) {
  const std::vector<std::string> known = store::recorded_jobs(folder);
  if (std::ranges::find(known, job) == known.end()) {
    fail<UsageError>("{} has no record of a job {}; it has: {}", printable(folder.string()),
                     printable(job, 40), known.empty() ? "none" : fmt::format("{}", fmt::join(known, ", ")));
  }
  const std::vector<store::JobStart> starts = store::read_job_starts(store::job_folder(folder, job));
  store::BatchStatus status;
  try {
    status = store::read_status(folder, {.look = std::chrono::milliseconds(0)});
  } catch (const UsageError&) {
    status = {};  // no start has begun a row yet
  }
  return display::account_text(ask_queue({job}).front(), starts, status, status_command(folder),
                               "--retry-failed");
}

std::string job_lines(const std::filesystem::path& folder) {
  std::vector<std::string> jobs = store::recorded_jobs(folder);
  if (jobs.size() > most_jobs) jobs.resize(most_jobs);
  std::string text;
  for (const display::QueueState& queue : ask_queue(jobs)) {
    const auto starts = store::read_job_starts(store::job_folder(folder, queue.job));
    const std::string words = display::queue_words(queue, starts);
    if (words.empty()) continue;
    text += fmt::format("job         {}: {}, {} start{} so far\n", queue.job, words, starts.size(),
                        starts.size() == 1 ? "" : "s");
  }
  return text;
}

}  // namespace wan::apps
