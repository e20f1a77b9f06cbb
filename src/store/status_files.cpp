#include "store/status_files.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/file.h"
#include "core/parse_value.h"
#include "manifest/item_id.h"
#include "store/json_file.h"
#include "store/output_folder.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = std::uint64_t{16} << 20;
constexpr std::uint64_t max_owner_bytes = 64U << 10;
constexpr std::size_t token_digits = 32;
constexpr int most_steps = 1'000'000;

// These functions return the values of this program's records. A value of another kind counts as missing.
std::string text_of(const json& fields, const char* name) {
  const auto found = fields.find(name);
  return found != fields.end() && found->is_string() ? found->get<std::string>() : std::string();
}

double seconds_of(const json& fields, const char* name) {
  const auto found = fields.find(name);
  if (found == fields.end() || !found->is_number()) return 0;
  const auto value = found->get<double>();
  return std::isfinite(value) && value > 0 ? value : 0;
}

int count_of(const json& fields, const char* name) {
  return static_cast<int>(std::min(seconds_of(fields, name), static_cast<double>(most_steps)));
}

std::int64_t process_of(const json& fields) {
  const auto found = fields.find("pid");
  if (found == fields.end() || !found->is_number_integer()) return 0;
  const auto pid = found->get<std::int64_t>();
  return pid > 0 && pid <= std::numeric_limits<std::int32_t>::max() ? pid : 0;
}

std::string_view take_line(std::string_view& text) {
  const std::size_t end = std::min(text.find('\n'), text.size());
  const std::string_view line = text.substr(0, end);
  text.remove_prefix(std::min(end + 1, text.size()));
  return line;
}

bool is_id(const std::string& text) {
  try {
    manifest::check_id(text);
    return true;
  } catch (const ValueError&) {
    return false;
  }
}

void read_progress(std::string_view line, OwnerFile& owner) {
  const json fields = json::parse(line, nullptr, false);
  if (!fields.is_object()) return;
  owner.writing = count_of(fields, "writing");
  WorkerStatus& worker = owner.worker;
  std::string id = text_of(fields, "id");
  if (!id.empty() && !is_id(id)) return;
  worker.id = std::move(id);
  worker.phase = text_of(fields, "phase");
  if (worker.id.empty()) return;
  worker.steps = count_of(fields, "steps");
  worker.step = std::min(count_of(fields, "step"), worker.steps);
  worker.step_s = seconds_of(fields, "step_s");
}

}  // namespace

std::optional<double> parse_utc(std::string_view text) {
  std::tm parts{};
  constexpr std::string_view form = "dddd-dd-ddTdd:dd:ddZ";
  if (text.size() != form.size()) return std::nullopt;
  for (std::size_t i = 0; i < form.size(); ++i) {
    const bool is_digit = text[i] >= '0' && text[i] <= '9';
    if (form[i] == 'd' ? !is_digit : text[i] != form[i]) return std::nullopt;
  }
  const auto number = [&](std::size_t at, std::size_t digits) {
    int value = 0;
    std::from_chars(text.data() + at, text.data() + at + digits, value);
    return value;
  };
  parts.tm_year = number(0, 4) - 1900;
  parts.tm_mon = number(5, 2) - 1;
  parts.tm_mday = number(8, 2);
  parts.tm_hour = number(11, 2);
  parts.tm_min = number(14, 2);
  parts.tm_sec = number(17, 2);
  return static_cast<double>(::timegm(&parts));
}

std::optional<FinishedItem> read_finished_item(const std::filesystem::path& sidecar) {
  const json fields = read_object(sidecar, max_record_bytes);
  if (!fields.is_object() || text_of(fields, "status") != "done") return std::nullopt;
  // The name of a record that was kept aside no longer matches its item.
  if (const std::string id = text_of(fields, "id"); !id.empty() && id != sidecar.stem().string())
    return std::nullopt;
  const auto end_s = parse_utc(text_of(fields, "ended"));
  const json::json_pointer recorded("/outputs/video/bytes");
  const auto size = plain_file_size(std::filesystem::path(sidecar).replace_extension(".mp4"));
  if (!end_s || !size || !fields.contains(recorded) || fields.at(recorded) != *size) return std::nullopt;
  const double seconds = seconds_of(fields, "seconds");
  const json::json_pointer sample_steps("/parameters/sample_steps");
  double steps_s = 0;
  if (fields.contains(sample_steps)) {
    steps_s = seconds_of(fields, "median_step_s") * count_of(fields.at("parameters"), "sample_steps");
  }
  return FinishedItem{.time = {.begin_s = *end_s - seconds, .end_s = *end_s},
                      .steps_s = std::min(steps_s, seconds),
                      .of_manifest = fields.contains("manifest")};
}

bool is_draft_record(const std::filesystem::path& record, const std::string& id) {
  const json fields = read_object(record, max_record_bytes);
  return fields.is_object() && text_of(fields, "status") == "drafted" && text_of(fields, "id") == id;
}

std::optional<FailureStatus> read_failure(const std::filesystem::path& record, const std::string& id) {
  const json fields = read_object(record, max_record_bytes);
  if (!fields.is_object() || text_of(fields, "status") != "failed") return std::nullopt;
  if (const std::string own = text_of(fields, "id"); !own.empty() && own != id) return std::nullopt;
  const json manifest = fields.value("manifest", json());
  return FailureStatus{.id = id,
                       .of_manifest = fields.contains("manifest"),
                       .manifest = manifest.is_object() ? text_of(manifest, "file") : std::string(),
                       .line = manifest.is_object() ? count_of(manifest, "line") : 0,
                       .stage = text_of(fields, "stage"),
                       .message = text_of(fields, "message")};
}

std::optional<LastRunStatus> read_last_run(const std::filesystem::path& record) {
  const json fields = read_object(record, max_record_bytes);
  if (!fields.is_object() || text_of(fields, "run").empty() || text_of(fields, "ended").empty())
    return std::nullopt;
  return LastRunStatus{.run = text_of(fields, "run"),
                       .ended = text_of(fields, "ended"),
                       .exit_code = count_of(fields, "exit_code"),
                       .exit_reason = text_of(fields, "exit_reason")};
}

std::optional<OwnerFile> parse_owner_file(std::string_view text) {
  OwnerFile owner;
  owner.heartbeat = std::string(take_line(text));
  const json fields = json::parse(take_line(text), nullptr, false);
  if (!fields.is_object()) return std::nullopt;
  owner.token = text_of(fields, "token");
  owner.machine = text_of(fields, "machine");
  owner.worker.host = text_of(fields, "host");
  owner.worker.pid = process_of(fields);
  owner.worker.job = text_of(fields, "job");
  owner.worker.run = text_of(fields, "run");
  if (owner.token.size() != token_digits || owner.worker.host.empty()) return std::nullopt;
  read_progress(take_line(text), owner);
  return owner;
}

std::optional<OwnerFile> read_owner_file(const std::filesystem::path& path) {
  if (!plain_file_size(path)) return std::nullopt;
  try {
    return parse_owner_file(read_text_file(path, max_owner_bytes));
  } catch (const Error&) {
    return std::nullopt;
  }
}

std::optional<ClaimName> parse_claim_name(std::string_view name) {
  constexpr std::string_view suffix = ".claim";
  ClaimName claim;
  if (!name.ends_with(suffix)) {
    const std::size_t dot = name.rfind('.');
    if (dot == std::string_view::npos) return std::nullopt;
    const std::string_view digits = name.substr(dot + 1);
    const auto [stop, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), claim.generation);
    if (error != std::errc{} || stop != digits.data() + digits.size() || claim.generation < 1)
      return std::nullopt;
    name = name.substr(0, dot);
  }
  if (!name.ends_with(suffix)) return std::nullopt;
  claim.id = std::string(name.substr(0, name.size() - suffix.size()));
  if (!is_id(claim.id)) return std::nullopt;
  return claim;
}

double covered_s(std::vector<WorkTime> times, double from_s, double to_s) {
  std::ranges::sort(times, {}, &WorkTime::begin_s);
  double covered = 0;
  double reached = from_s;
  for (const WorkTime& time : times) {
    const double begin = std::max(time.begin_s, reached);
    const double end = std::min(time.end_s, to_s);
    if (end <= begin) continue;
    covered += end - begin;
    reached = end;
  }
  return covered;
}

}  // namespace wan::store
