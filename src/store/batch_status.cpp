#include "store/batch_status.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <map>
#include <set>
#include <thread>

#include "core/check.h"
#include "core/strings.h"
#include "store/batch_record.h"
#include "store/claims.h"
#include "store/output_folder.h"
#include "store/status_files.h"
#include "store/status_work.h"
#include "store/stop_file.h"

namespace wan::store {
namespace {

constexpr std::string_view owner_prefix = ".owner-";
constexpr std::string_view record_suffix = ".json";
constexpr std::string_view failure_suffix = ".failed.json";
constexpr std::string_view writing_phase = "write";  // of an item whose group makes another one
constexpr std::string_view waiting_phase = "wait";   // of an item that waits for the second expert
constexpr std::string_view draft_suffix = ".draft.json";
constexpr double s_per_hour = 3600;

bool is_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() == std::filesystem::file_type::directory;
}

/// The content of the records.
struct Records {
  std::map<std::string, FinishedItem> done;
  std::map<std::string, FailureStatus> failed;
  std::set<std::string> drafted;
};

Records read_records(const std::filesystem::path& folder) {
  Records records;
  for (const std::string& name : names_in(folder)) {
    if (name.starts_with('.') || name == "run.json" || !name.ends_with(record_suffix)) continue;
    if (name.ends_with(draft_suffix)) {
      const std::string id = name.substr(0, name.size() - draft_suffix.size());
      if (is_draft_record(folder / name, id)) records.drafted.insert(id);
    } else if (name.ends_with(failure_suffix)) {
      const std::string id = name.substr(0, name.size() - failure_suffix.size());
      if (auto failure = read_failure(folder / name, id)) records.failed.emplace(id, std::move(*failure));
    } else if (auto item = read_finished_item(folder / name)) {
      records.done.emplace(name.substr(0, name.size() - record_suffix.size()), *item);
    }
  }
  // When an item fails and is made good later, the record of the failure is removed. A failure record beside
  // a good video is of another attempt, and the video counts.
  std::erase_if(records.failed, [&](const auto& entry) { return records.done.contains(entry.first); });
  return records;
}

/// An owner, its claims, and the file that shows whether it lives.
struct Owner {
  OwnerFile file;
  std::filesystem::path path;
  std::set<std::string> claimed;
  enum class Life { unknown, alive, dead } life = Life::unknown;
};

/// The owners by token. A claim is a link to its owner's file, which may be gone itself.
std::map<std::string, Owner> read_owners(const std::filesystem::path& claims) {
  std::map<std::string, Owner> owners;
  std::map<std::string, std::pair<int, std::string>> holder;  // by item: generation and token of the highest
  const auto add = [&](const std::string& name) -> const Owner* {
    auto file = read_owner_file(claims / name);
    if (!file) return nullptr;
    Owner& owner = owners[file->token];
    // The owner file may outlive the claim: the owner goes on after a release.
    if (owner.path.empty() || name.starts_with(owner_prefix)) owner.path = claims / name;
    owner.file = std::move(*file);
    return &owner;
  };
  for (const std::string& name : names_in(claims)) {
    if (name.starts_with(owner_prefix)) {
      add(name);
    } else if (const auto claim = parse_claim_name(name)) {
      const Owner* owner = add(name);
      if (owner == nullptr) continue;
      auto& [generation, token] = holder[claim->id];
      if (token.empty() || claim->generation > generation) {
        generation = claim->generation;
        token = owner->file.token;
      }
    }
  }
  for (const auto& [id, held] : holder) owners.at(held.second).claimed.insert(id);
  return owners;
}

bool is_gone(const OwnerFile& owner, const std::string& this_machine) {
  return !this_machine.empty() && owner.machine == this_machine && owner.worker.pid > 0 &&
         ::kill(static_cast<pid_t>(owner.worker.pid), 0) != 0 && errno == ESRCH;
}

/// Whether a file was written less than `span` ago, by this host's clock.
bool is_fresh(const std::filesystem::path& path, std::chrono::milliseconds span) {
  std::error_code error;
  const auto written = std::filesystem::last_write_time(path, error);
  if (error) return false;
  return std::chrono::abs(std::filesystem::file_time_type::clock::now() - written) < span;
}

/// Decides for every owner whether it lives. Watches all owners that have not been seen to beat, at the same
/// time.
void judge(std::map<std::string, Owner>& owners, const StatusTiming& timing) {
  const std::string this_machine = ClaimOwner::this_process({}, {}).machine;
  const auto is_undecided = [](const auto& entry) { return entry.second.life == Owner::Life::unknown; };
  for (auto& [token, owner] : owners) {
    if (is_gone(owner.file, this_machine)) {
      owner.life = Owner::Life::dead;
    } else if (is_fresh(owner.path, timing.fresh)) {
      owner.life = Owner::Life::alive;
    }
  }
  const auto until = std::chrono::steady_clock::now() + timing.look;
  while (std::ranges::any_of(owners, is_undecided) && std::chrono::steady_clock::now() < until) {
    std::this_thread::sleep_for(timing.poll);
    for (auto& [token, owner] : owners) {
      if (owner.life != Owner::Life::unknown) continue;
      auto now = read_owner_file(owner.path);
      if (!now) {  // it has ended in the meantime
        owner.life = Owner::Life::dead;
        owner.claimed.clear();
      } else if (now->heartbeat != owner.file.heartbeat) {
        owner.file = std::move(*now);
        owner.life = Owner::Life::alive;
      }
    }
  }
}

/// One worker for every held item, and one for each living owner that holds none.
std::vector<WorkerStatus> list_workers(const std::map<std::string, Owner>& owners) {
  std::vector<WorkerStatus> workers;
  for (const auto& [token, owner] : owners) {
    const WorkerStatus& told = owner.file.worker;
    WorkerStatus worker;
    worker.host = told.host;
    worker.pid = told.pid;
    worker.job = told.job;
    worker.run = told.run;
    worker.is_alive = owner.life == Owner::Life::alive;
    if (owner.claimed.empty() && worker.is_alive) {
      workers.push_back(worker);
      if (told.id.empty()) workers.back().phase = told.phase;  // "load", for instance
    }
    for (const std::string& id : owner.claimed) {
      // The progress may name an item that the owner no longer holds.
      workers.push_back(id == told.id ? told : worker);
      if (id != told.id && !told.id.empty()) workers.back().phase = waiting_phase;
      if (id != told.id && owner.file.writing > 0) workers.back().phase = writing_phase;
      workers.back().id = id;
      workers.back().is_alive = worker.is_alive;
    }
  }
  std::ranges::sort(workers, {},
                    [](const WorkerStatus& w) { return std::tuple(!w.is_alive, w.host, w.pid, w.id); });
  return workers;
}

/// The items of a folder, by id.
struct Items {
  ListedItems listed;
  std::set<std::string> running;
  std::vector<std::string> open;  ///< of the listed ones
  std::set<std::string> drafted;  ///< of the listed ones

  /// Whether an item that no manifest lists belongs to the batch: it is a single request, or its manifest's
  /// rows are unknown. Otherwise its row was removed or changed.
  bool counts(const std::string& id, bool of_manifest) const {
    return listed.contains(id) || !of_manifest || !listed.is_complete();
  }
};

Items sort_out(const std::vector<BatchRecord>& batches, const Records& records, const BatchStatus& status) {
  Items items{.listed = ListedItems(batches), .running = {}, .open = {}, .drafted = {}};
  const bool keeps_drafts = std::ranges::any_of(batches, &BatchRecord::keeps_drafts);
  for (const WorkerStatus& worker : status.workers)
    if (worker.is_alive && !worker.id.empty()) items.running.insert(worker.id);
  for (const auto& [id, work] : items.listed.items()) {
    if (records.done.contains(id) || records.failed.contains(id) || items.running.contains(id)) continue;
    if (keeps_drafts && records.drafted.contains(id)) {
      items.drafted.insert(id);
    } else {
      items.open.push_back(id);
    }
  }
  return items;
}

/// Seconds until nothing is open at the rate so far. Does not count single requests that no manifest lists.
std::optional<double> time_left_s(const BatchStatus& status, const Records& records, const Items& items,
                                  double now_s) {
  const ItemWeights weights(items.listed, records.done);
  double rate = rate_in(records.done, weights, now_s - s_per_hour, now_s);
  if (rate <= 0) rate = rate_in(records.done, weights, 0, now_s);
  if (rate <= 0) rate = rate_of_steps(status.workers, weights);
  double left = 0;
  if (items.listed.is_complete()) {
    for (const std::string& id : items.open) left += weights.of(id);
  } else {
    left = static_cast<double>(status.open());
  }
  for (const std::string& id : items.running) left += weights.of(id);
  for (const WorkerStatus& worker : status.workers) {
    if (!worker.is_alive) continue;
    if (worker.phase == writing_phase) {
      left -= weights.of_steps(worker.id);
    } else if (worker.steps > 0) {
      left -= weights.of_steps(worker.id) * worker.step / worker.steps;
    }
  }
  if (left <= 0) return 0;
  return rate > 0 ? std::optional(left / rate) : std::nullopt;
}

void count_items(const Records& records, const Items& items, BatchStatus& status) {
  std::int64_t unlisted = 0;
  const auto count = [&](const std::string& id, bool of_manifest, std::int64_t& number) {
    if (items.running.contains(id)) return;
    const bool counts = items.counts(id, of_manifest);
    ++(counts ? number : status.former);
    if (counts && !items.listed.contains(id)) ++unlisted;
  };
  for (const auto& [id, item] : records.done) count(id, item.of_manifest, status.done);
  for (const auto& [id, failure] : records.failed) {
    count(id, failure.of_manifest, status.failed);
    if (items.counts(id, failure.of_manifest)) status.failures.push_back(failure);
  }
  status.running = std::ssize(items.running);
  status.drafted = std::ssize(items.drafted);
  unlisted +=
      std::ranges::count_if(items.running, [&](const std::string& id) { return !items.listed.contains(id); });
  status.rows = std::ssize(items.listed.items()) + items.listed.nameless_rows();
  if (items.listed.nameless_rows() == 0) status.rows += unlisted;
  status.rows = std::max(status.rows, status.done + status.failed + status.running + status.drafted);
}

/// Open items with some steps done. A record names the file of the state; states without a record do not
/// count.
std::int64_t count_saved(const std::filesystem::path& states, const Records& records, const Items& items) {
  if (!is_folder(states)) return 0;
  return std::ranges::count_if(names_in(states), [&](const std::string& name) {
    if (name.starts_with('.') || !name.ends_with(record_suffix)) return false;
    const std::string id = name.substr(0, name.size() - record_suffix.size());
    return !records.done.contains(id) && !records.failed.contains(id) && !items.running.contains(id) &&
           !items.drafted.contains(id) && items.counts(id, true);
  });
}

}  // namespace

bool BatchStatus::is_running() const { return std::ranges::any_of(workers, &WorkerStatus::is_alive); }

BatchStatus read_status(const std::filesystem::path& folder, const StatusTiming& timing) {
  std::error_code error;
  if (!std::filesystem::is_directory(folder, error)) {
    fail<UsageError>("{} is not a folder; give the output folder of a batch", printable(folder.string()));
  }
  const std::filesystem::path claims = folder / ".claims";
  BatchStatus status;
  std::map<std::string, Owner> owners;
  if (is_folder(claims)) {
    owners = read_owners(claims);
    judge(owners, timing);
  }
  const Records records = read_records(folder);
  status.last_run = read_last_run(folder / "run.json");
  if (!is_folder(claims) && !status.last_run && records.done.empty() && records.failed.empty()) {
    fail<UsageError>("{} holds nothing of wan_batch: give the output folder of a batch",
                     printable(folder.string()));
  }
  status.has_stop_file = has_stop_file(folder);
  status.workers = list_workers(owners);
  const std::vector<BatchRecord> batches = read_batch_records(claims);
  for (const BatchRecord& batch : batches)
    if (batch.has_changed) status.changed_manifests.push_back(batch.manifest);
  const Items items = sort_out(batches, records, status);
  count_items(records, items, status);
  status.saved = std::min(count_saved(folder / ".state", records, items), status.open());
  double last_s = 0;
  for (const auto& [id, item] : records.done) last_s = std::max(last_s, item.time.end_s);
  // For a stopped batch, the last hour is the one before it stopped.
  const double now_s =
      status.is_running() ? std::max(last_s, static_cast<double>(std::time(nullptr))) : last_s;
  const ListedItems nothing_known{std::vector<BatchRecord>()};
  const ItemWeights all_alike(nothing_known, {});
  status.last_hour_items_per_hour = s_per_hour * rate_in(records.done, all_alike, now_s - s_per_hour, now_s);
  status.overall_items_per_hour = s_per_hour * rate_in(records.done, all_alike, 0, now_s);
  status.left_s = time_left_s(status, records, items, now_s);
  return status;
}

}  // namespace wan::store
