#include "store/job_record.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <sstream>

#include "core/file.h"
#include "core/parse_value.h"
#include "store/output_folder.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_bytes = 1U << 20;
constexpr std::string_view prefix = "start-";

template <typename T>
T value_or(const json& fields, const char* name, T otherwise) {
  const auto found = fields.find(name);
  if (found == fields.end()) return otherwise;
  try {
    return found->get<T>();
  } catch (const json::exception&) {
    return otherwise;
  }
}

double rounded(double seconds) { return std::round(seconds * 1e3) / 1e3; }

/// A text file's content; empty if it is missing, no plain file or too large.
std::string content_of(const std::filesystem::path& path) {
  if (!plain_file_size(path)) return {};
  try {
    return read_text_file(path, max_bytes);
  } catch (const Error&) {
    return {};
  }
}

/// The lines NAME=VALUE of a start's record; the last one of a name counts.
std::map<std::string, std::string> lines_of(const std::filesystem::path& path) {
  std::map<std::string, std::string> values;
  std::istringstream lines(content_of(path));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = line.find('=');
    if (equals != std::string::npos) values[line.substr(0, equals)] = line.substr(equals + 1);
  }
  return values;
}

std::int64_t number_in(const std::map<std::string, std::string>& values, const std::string& name) {
  constexpr std::int64_t largest = std::int64_t{1} << 40;
  const auto found = values.find(name);
  if (found == values.end()) return 0;
  try {
    return parse_integer(found->second, 0, largest);
  } catch (const ValueError&) {
    return 0;
  }
}

std::string text_in(const std::map<std::string, std::string>& values, const std::string& name) {
  const auto found = values.find(name);
  return found == values.end() ? std::string() : found->second;
}

JobStart start_from(const std::filesystem::path& path, int number) {
  const std::map<std::string, std::string> values = lines_of(path);
  JobStart start{.number = number,
                 .began_s = number_in(values, "began_s"),
                 .ended_s = number_in(values, "ended_s"),
                 .has_ended = values.contains("ended_s"),
                 .was_told_to_stop = values.contains("told_to_stop"),
                 .gpus = static_cast<int>(std::min<std::int64_t>(number_in(values, "gpus"), 1 << 20)),
                 .nodes = text_in(values, "nodes"),
                 .reason = text_in(values, "reason"),
                 .exit_code = static_cast<int>(std::min<std::int64_t>(number_in(values, "exit_code"), 255)),
                 .command = text_in(values, "command"),
                 .will_start_again = text_in(values, "requeued") == "yes",
                 .has_crashed = text_in(values, "ended_by") == "crash",
                 .groups = {}};
  if (!start.has_ended) start.ended_s = std::max(start.began_s, number_in(values, "seen_s"));
  std::error_code error;
  std::map<std::string, GroupProgress> groups;
  const std::string group_prefix = path.filename().string() + ".group-";
  for (const auto& entry : std::filesystem::directory_iterator(path.parent_path(), error)) {
    const std::string name = entry.path().filename().string();
    if (!name.starts_with(group_prefix) || !name.ends_with(".json")) continue;
    groups.emplace(name, group_progress_from(content_of(entry.path())));
  }
  for (auto& [name, group] : groups) {
    if (!start.has_ended) start.ended_s = std::max(start.ended_s, group.at_s);
    start.groups.push_back(std::move(group));
  }
  return start;
}

/// The number of "start-12"; nothing for other names.
std::optional<int> start_number(std::string_view name) {
  if (!name.starts_with(prefix)) return std::nullopt;
  name.remove_prefix(prefix.size());
  int number = 0;
  const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc() || end != name.data() + name.size() || number < 1) return std::nullopt;
  return number;
}

bool is_job_id(std::string_view name) {
  return !name.empty() &&
         std::ranges::all_of(name, [](char c) { return (c >= '0' && c <= '9') || c == '_'; });
}

}  // namespace

std::string to_text(const GroupProgress& progress) {
  const json fields{{"run", progress.run},
                    {"rows", progress.rows},
                    {"settled_before", progress.settled_before},
                    {"failed_before", progress.failed_before},
                    {"made", progress.made},
                    {"failed", progress.failed},
                    {"in_hand", progress.in_hand ? 1 : 0},
                    {"id", progress.id},
                    {"step", progress.step},
                    {"steps", progress.steps},
                    {"step_s", rounded(progress.step_s)},
                    {"ranks", progress.ranks},
                    {"steps_made", progress.steps_made},
                    {"used_rank_s", rounded(progress.used_rank_s)},
                    {"lost_steps", progress.lost_steps},
                    {"lost_rank_s", rounded(progress.lost_rank_s)},
                    {"left_s", progress.left_s},
                    {"at_s", progress.at_s}};
  return fields.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

GroupProgress group_progress_from(std::string_view text) {
  const json fields = json::parse(text, nullptr, false);
  if (!fields.is_object()) return {};
  return {.run = value_or(fields, "run", std::string()),
          .rows = value_or<std::int64_t>(fields, "rows", 0),
          .settled_before = value_or<std::int64_t>(fields, "settled_before", 0),
          .failed_before = value_or<std::int64_t>(fields, "failed_before", 0),
          .made = value_or<std::int64_t>(fields, "made", 0),
          .failed = value_or<std::int64_t>(fields, "failed", 0),
          .in_hand = value_or(fields, "in_hand", 0) != 0,
          .id = value_or(fields, "id", std::string()),
          .step = value_or(fields, "step", 0),
          .steps = value_or(fields, "steps", 0),
          .step_s = value_or(fields, "step_s", 0.0),
          .ranks = value_or(fields, "ranks", 1),
          .steps_made = value_or<std::int64_t>(fields, "steps_made", 0),
          .used_rank_s = value_or(fields, "used_rank_s", 0.0),
          .lost_steps = value_or<std::int64_t>(fields, "lost_steps", 0),
          .lost_rank_s = value_or(fields, "lost_rank_s", 0.0),
          .left_s = value_or<std::int64_t>(fields, "left_s", 0),
          .at_s = value_or<std::int64_t>(fields, "at_s", 0)};
}

std::filesystem::path job_start_record(const Environment& environment) {
  return value_of(environment, "WAN_JOB_START");
}

std::vector<JobStart> read_job_starts(const std::filesystem::path& job_folder) {
  std::vector<JobStart> starts;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(job_folder, error)) {
    if (const auto number = start_number(entry.path().filename().string()))
      starts.push_back(start_from(entry.path(), *number));
  }
  std::ranges::sort(starts, {}, &JobStart::number);
  return starts;
}

std::vector<std::string> recorded_jobs(const std::filesystem::path& output_folder) {
  std::vector<std::pair<std::filesystem::file_time_type, std::string>> jobs;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(output_folder / ".jobs", error)) {
    const std::string name = entry.path().filename().string();
    std::error_code unreadable;
    if (is_job_id(name)) jobs.emplace_back(std::filesystem::last_write_time(entry.path(), unreadable), name);
  }
  std::ranges::sort(jobs, std::greater());
  std::vector<std::string> ids;
  ids.reserve(jobs.size());
  for (const auto& [time, id] : jobs) ids.push_back(id);
  return ids;
}

std::filesystem::path job_folder(const std::filesystem::path& output_folder, const std::string& job) {
  return output_folder / ".jobs" / job;
}

std::vector<std::string> crashed_runs(const std::filesystem::path& start_record) {
  std::vector<std::string> runs;
  if (start_record.empty()) return runs;
  for (const JobStart& start : read_job_starts(start_record.parent_path())) {
    if (!start.has_crashed) continue;
    for (const GroupProgress& group : start.groups) {
      if (!group.run.empty() && std::ranges::find(runs, group.run) == runs.end()) runs.push_back(group.run);
    }
  }
  return runs;
}

void note_beside(const std::filesystem::path& start_record, std::string_view extension,
                 std::string_view text) noexcept {
  if (start_record.empty()) return;
  try {
    std::ofstream(fmt::format("{}.{}", start_record.string(), extension), std::ios::app) << text;
  } catch (const std::exception&) {
    return;
  }
}

void write_group_progress(const std::filesystem::path& start_record, int group,
                          const GroupProgress& progress) noexcept {
  try {
    const std::filesystem::path path = fmt::format("{}.group-{}.json", start_record.string(), group);
    const std::filesystem::path temporary = path.string() + ".tmp";
    std::ofstream file(temporary, std::ios::trunc);
    file << to_text(progress);
    file.close();
    std::error_code error;
    if (file) std::filesystem::rename(temporary, path, error);
  } catch (const std::exception&) {
    return;
  }
}

}  // namespace wan::store
