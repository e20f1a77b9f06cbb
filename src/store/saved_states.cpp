#include "store/saved_states.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/strings.h"
#include "store/identity.h"

namespace wan::store {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = std::uint64_t{1} << 20;
constexpr std::string_view suffix = "safetensors";
constexpr std::string_view file_suffix = ".safetensors";
constexpr std::string_view own_mark = "wan-";

bool is_number(std::string_view text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Whether `name` is `<id>.<steps>.wan-<token>.safetensors`. Ids may hold dots, but the rest has a fixed
/// form.
bool is_state_file(std::string_view name, std::string_view id) {
  if (!name.starts_with(id) || !name.ends_with(file_suffix)) return false;
  name.remove_prefix(id.size());
  name.remove_suffix(file_suffix.size());
  if (!name.starts_with('.')) return false;
  name.remove_prefix(1);
  const std::size_t dot = name.find('.');
  if (dot == std::string_view::npos) return false;
  const std::string_view token = name.substr(dot + 1);
  return is_number(name.substr(0, dot)) && token.starts_with(own_mark) &&
         is_token(token.substr(own_mark.size()));
}

bool is_there(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() != std::filesystem::file_type::not_found;
}

/// NaN if the energy is unknown: the record holds null then, and a record of an earlier version holds
/// nothing.
double read_energy_j(const json& fields) {
  const auto energy_wh = fields.find("energy_wh");
  if (energy_wh == fields.end() || energy_wh->is_null()) return std::numeric_limits<double>::quiet_NaN();
  return energy_wh->get<double>() * joules_per_wh;
}

}  // namespace

std::filesystem::path SavedStates::record(std::string_view id) const {
  return folder_ / fmt::format("{}.json", id);
}

std::filesystem::path SavedStates::temporary(std::string_view id, std::string_view token) const {
  return folder_ / hidden_name(id, token, suffix);
}

void SavedStates::publish(std::string_view id, std::string_view token, const NewState& state) const {
  if (const auto foreign = foreign_record(id))
    fail("{} is not a record of wan_batch: move it away", printable(foreign->string()));
  const std::filesystem::path from = temporary(id, token);
  const auto size = plain_file_size(from);
  if (!size || *size == 0) fail("the engine left no state in {}", from.string());
  const std::string name = fmt::format("{}.{}.{}{}{}", id, state.steps_done, own_mark, token, file_suffix);
  json fields{{"id", id},
              {"status", "unfinished"},
              {"parameters", to_json(state.parameters)},
              {"steps_done", state.steps_done},
              {"seconds", state.seconds},
              {"gpu_seconds", state.gpu_seconds},
              {"energy_wh", state.energy_j / joules_per_wh},
              {"resumed_at_steps", state.resumed_at},
              {"state", {{"file", name}, {"bytes", *size}, {"sha256", sha256_file_hex(from)}}}};
  add_origin(fields, state.origin);
  publish_file(from, folder_ / name);
  const std::filesystem::path temporary_record = folder_ / hidden_name(id, token, "json");
  try {
    create_file(temporary_record, dump(fields));
    publish_file(temporary_record, record(id));
  } catch (...) {
    remove_file(temporary_record);
    throw;
  }
  remove_files(id, folder_ / name);
}

std::optional<SavedState> SavedStates::find(std::string_view id, const Parameters& wanted,
                                            bool by_content) const {
  const std::filesystem::path path = record(id);
  if (!plain_file_size(path)) return std::nullopt;
  try {
    const json fields = json::parse(read_text_file(path, max_record_bytes));
    const json& parameters = fields.at("parameters");
    const std::string name = fields.at("state").at("file");
    if (!is_state_file(name, id)) return std::nullopt;
    SavedState state{
        .steps_done = fields.at("steps_done"),
        .seconds = fields.at("seconds"),
        .gpu_seconds = fields.at("gpu_seconds"),
        .energy_j = read_energy_j(fields),
        .resumed_at = fields.at("resumed_at_steps"),
        .seed = parameters.at("seed"),
        .run = fields.at("run"),
        .differs = describe(differences(parameters, wanted)),
        .file = {.bytes = fields.at("state").at("bytes"), .sha256 = fields.at("state").at("sha256")},
        .path = folder_ / name};
    if (state.steps_done < 1 || !matches(state.path, state.file, by_content)) return std::nullopt;
    return state;
  } catch (const json::exception&) {
    return std::nullopt;
  } catch (const Error&) {
    return std::nullopt;
  }
}

void SavedStates::remove(std::string_view id) const {
  remove_files(id, {});
  if (has_record(id)) remove_file(record(id));
}

bool SavedStates::has_record(std::string_view id) const {
  const std::filesystem::path path = record(id);
  if (!plain_file_size(path)) return false;
  try {
    const json fields = json::parse(read_text_file(path, max_record_bytes), nullptr, false);
    return fields.is_object() && fields.contains("format") && fields.contains("steps_done");
  } catch (const Error&) {
    return false;
  }
}

std::optional<std::filesystem::path> SavedStates::foreign_record(std::string_view id) const {
  if (!is_there(record(id)) || has_record(id)) return std::nullopt;
  return record(id);
}

void SavedStates::remove_temporary(std::string_view id, std::string_view token) const {
  remove_file(temporary(id, token));
  remove_file(folder_ / hidden_name(id, token, "json"));
}

void SavedStates::remove_files(std::string_view id, const std::filesystem::path& but) const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (entry.path() != but && is_state_file(entry.path().filename().string(), id)) remove_file(entry.path());
  }
}

}  // namespace wan::store
