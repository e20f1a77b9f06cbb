#include "launch/job_end.h"

#include <fmt/format.h>

#include <algorithm>
#include <string_view>

#include "core/parse_value.h"
#include "core/printable.h"

namespace wan::launch {
namespace {

constexpr double longest_job_s =
    10.0 * 366 * 86400;  // Slurm's largest limit is a year; later ends mean "none"

/// "1234", or "1234_5" of an array: the only values that go on squeue's command line.
std::optional<std::string> job_id(const Environment& environment) {
  const auto job = number_of(environment, "SLURM_JOB_ID");
  if (!job) return std::nullopt;
  const auto array = number_of(environment, "SLURM_ARRAY_JOB_ID");
  const auto task = number_of(environment, "SLURM_ARRAY_TASK_ID");
  // SLURM_JOB_ID of one task is also the id of its whole array.
  return array && task ? fmt::format("{}_{}", *array, *task) : fmt::format("{}", *job);
}

std::string_view without_blanks(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n";
  const std::size_t first = std::min(text.find_first_not_of(blanks), text.size());
  text.remove_prefix(first);
  return text.substr(0, text.find_last_not_of(blanks) + 1);
}

}  // namespace

std::optional<double> parse_time_left(std::string_view text) {
  constexpr std::int64_t most = 100'000;
  constexpr std::size_t most_fields = 3;
  text = without_blanks(text);
  std::int64_t days = 0;
  std::int64_t seconds = 0;
  try {
    if (const std::size_t dash = text.find('-'); dash != std::string_view::npos) {
      days = parse_integer(text.substr(0, dash), 0, most);
      text.remove_prefix(dash + 1);
    }
    std::size_t fields = 0;
    while (true) {
      const std::size_t colon = text.find(':');
      seconds = seconds * 60 + parse_integer(text.substr(0, colon), 0, most);
      if (++fields > most_fields) return std::nullopt;
      if (colon == std::string_view::npos) break;
      text.remove_prefix(colon + 1);
    }
    if (fields < 2) return std::nullopt;
  } catch (const ValueError&) {
    return std::nullopt;
  }
  return static_cast<double>(days * 86400 + seconds);
}

JobEnd slurm_job_end(const Environment& environment, double now_unix_s, double age_s, const AskCommand& ask) {
  const auto job = job_id(environment);
  if (!job) return {};
  if (const std::string text = value_of(environment, "SLURM_JOB_END_TIME"); !text.empty()) {
    const auto end = number_of(environment, "SLURM_JOB_END_TIME");
    const auto ignored = [&](std::string_view why) {
      return JobEnd{
          .limit_s = {},
          .problem = fmt::format("SLURM_JOB_END_TIME is '{}', {}: the end of job {} is not known, and "
                                 "only a signal or --time-limit stops this run in time",
                                 printable(text, 40), why, *job)};
    };
    if (!end) return ignored("which is no time");
    const double limit_s = static_cast<double>(*end) - (now_unix_s - age_s);
    if (limit_s <= 0) return ignored("which was over before this start");
    if (limit_s > longest_job_s) return {};
    return {.limit_s = limit_s, .problem = {}};
  }
  const auto answer = ask({"squeue", "--noheader", "--jobs=" + *job, "--format=%L"});
  if (!answer) return {};
  const auto left_s = parse_time_left(*answer);
  if (!left_s || *left_s <= 0 || *left_s > longest_job_s) return {};
  return {.limit_s = *left_s + age_s, .problem = {}};
}

}  // namespace wan::launch
