#include "batch/item_deaths.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/check.h"
#include "core/checksum.h"
#include "core/file.h"
#include "core/log.h"
#include "core/strings.h"
#include "store/saved_states.h"

namespace wan::batch {
namespace {

using nlohmann::json;

constexpr std::uint64_t max_record_bytes = 64U << 10;

/// A text that differs between rows of different values.
std::string key_of(const store::Parameters& wanted) {
  json fields = store::to_json(wanted);
  if (wanted.automatic_seed) fields.erase("seed");
  fields.erase("image");
  return sha256_hex(store::dump(fields));
}

/// Whether the attempt of `token` saved the newest state of the item.
bool has_saved(const store::Parameters& wanted, std::string_view token, const RunContext& context) {
  const auto state = store::SavedStates(context.folder.states()).find(wanted.request.id, wanted, false);
  return state && state->path.filename().string().find(token) != std::string::npos;
}

}  // namespace

std::filesystem::path ItemDeaths::record(std::string_view id) const {
  return folder_ / fmt::format(".deaths-{}.json", id);
}

bool ItemDeaths::are_noted(std::string_view id) const {
  return store::plain_file_size(record(id)).has_value();
}

std::vector<Death> ItemDeaths::of(const store::Parameters& wanted) const {
  const std::filesystem::path path = record(wanted.request.id);
  if (!store::plain_file_size(path)) return {};
  std::vector<Death> deaths;
  try {
    const json fields = json::parse(read_text_file(path, max_record_bytes));
    if (fields.at("row") != key_of(wanted)) return {};
    for (const json& death : fields.at("deaths")) {
      deaths.push_back({.token = death.at("token"), .who = death.at("who"), .when = death.at("when")});
    }
  } catch (const json::exception&) {
    return {};
  } catch (const Error&) {
    return {};
  }
  return deaths;
}

void ItemDeaths::add(const store::Parameters& wanted, const Death& death) const {
  std::vector<Death> deaths = of(wanted);
  if (std::ranges::find(deaths, death.token, &Death::token) != deaths.end()) return;
  deaths.push_back(death);
  json list = json::array();
  for (const auto& [token, who, when] : deaths)
    list.push_back({{"token", token}, {"who", who}, {"when", when}});
  const json fields{{"id", wanted.request.id}, {"row", key_of(wanted)}, {"deaths", std::move(list)}};
  write_file_atomically(record(wanted.request.id), store::dump(fields));
}

void ItemDeaths::clear(std::string_view id) const {
  if (are_noted(id)) store::remove_file(record(id));
}

bool counts_as_death(const store::DeadOwner& owner, const store::Parameters& wanted,
                     const RunContext& context) {
  if (!owner.was_at_work || owner.was_told_to_stop) return false;
  // The batch script has seen that a signal killed a rank, and has started the job again for that.
  if (context.has_crashed(owner.run)) return !has_saved(wanted, owner.token, context);
  // Slurm restarts a job that was preempted or whose node was lost.
  if (context.is_of_this_job(owner.run)) return false;
  if (!owner.machine_is_up) {
    // This node cannot see whether another node went down. If the scheduler has not restarted the same job,
    // the node probably did not.
    const bool is_another_job = !owner.job.empty() && !context.job.id.empty() && owner.job != context.job.id;
    if (!is_another_job || owner.host == context.origin.host) return false;
  }
  return !has_saved(wanted, owner.token, context);
}

void note_end_of_run(const manifest::ManifestRow& row, std::string_view token, std::string_view message,
                     const RunContext& context, const Task& task) noexcept {
  try {
    const store::Parameters wanted = wanted_parameters(row, context, task);
    if (has_saved(wanted, token, context)) return;
    ItemDeaths(context.folder.states())
        .add(wanted,
             {.token = std::string(token),
              .who = fmt::format("{}, rank {}: {}", context.origin.host, context.place.world_rank, message),
              .when = store::utc_now()});
  } catch (const std::exception& error) {
    context.log->warn("{}: {}", row.id, error.what());
  }
}

std::string describe_deaths(const std::vector<Death>& deaths, const SettingNames& names) {
  return fmt::format(
      "the program ended {} times while it made this item and had saved no new step, the last time on {} "
      "(noted {}); the host's memory may be too small for it, or a library crashes on it: look at the jobs' "
      "output; {} tries it again",
      deaths.size(), printable(deaths.back().who), deaths.back().when, names.retry_failed);
}

}  // namespace wan::batch
