#include "batch/batch_status.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <ctime>
#include <map>
#include <set>
#include <thread>

#include "batch/batch_record.h"
#include "batch/claims.h"
#include "batch/output_folder.h"
#include "batch/status_files.h"
#include "batch/text.h"
#include "core/check.h"

namespace wan::batch {
namespace {

constexpr std::string_view owner_prefix = ".owner-";
constexpr std::string_view record_suffix = ".json";
constexpr std::string_view failure_suffix = ".failed.json";
constexpr std::string_view state_suffix = ".safetensors";
constexpr double s_per_hour = 3600;

bool is_folder(const std::filesystem::path& path) {
  std::error_code error;
  return std::filesystem::symlink_status(path, error).type() == std::filesystem::file_type::directory;
}

/// What the records say.
struct Records {
  std::map<std::string, WorkTime> done;
  std::map<std::string, FailureStatus> failed;
};

Records read_records(const std::filesystem::path& folder) {
  Records records;
  for (const std::string& name : names_in(folder)) {
    if (name.starts_with('.') || name == "run.json" || !name.ends_with(record_suffix)) continue;
    if (name.ends_with(failure_suffix)) {
      const std::string id = name.substr(0, name.size() - failure_suffix.size());
      if (auto failure = read_failure(folder / name, id)) records.failed.emplace(id, std::move(*failure));
    } else if (const auto time = read_finished_item(folder / name)) {
      records.done.emplace(name.substr(0, name.size() - record_suffix.size()), *time);
    }
  }
  // A record of a failure that was made good later is removed with it; one beside a good video is of another
  // attempt, and the video counts.
  std::erase_if(records.failed, [&](const auto& entry) { return records.done.contains(entry.first); });
  return records;
}

/// An owner, what it holds, and the file that tells whether it lives.
struct Owner {
  OwnerFile file;
  std::filesystem::path path;
  std::set<std::string> claimed;
  enum class Life { unknown, alive, dead } life = Life::unknown;
};

/// By token. A claim is a link to its owner's file, which may be gone itself.
std::map<std::string, Owner> read_owners(const std::filesystem::path& claims) {
  std::map<std::string, Owner> owners;
  std::map<std::string, std::pair<int, std::string>> holder;  // by item: generation and token of the highest
  const auto add = [&](const std::string& name) -> const Owner* {
    auto file = read_owner_file(claims / name);
    if (!file) return nullptr;
    Owner& owner = owners[file->token];
    // The claim may be released while the owner goes on.
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

/// Decides for every owner whether it lives. Those not seen to beat are watched, all at a time.
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

/// One worker for every item that is held, and one for a living owner that holds none.
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
    if (owner.claimed.empty() && worker.is_alive) workers.push_back(worker);
    for (const std::string& id : owner.claimed) {
      // Progress of an item that it does not hold is of the past.
      workers.push_back(id == told.id ? told : worker);
      workers.back().id = id;
      workers.back().is_alive = worker.is_alive;
    }
  }
  std::ranges::sort(workers, {},
                    [](const WorkerStatus& w) { return std::tuple(!w.is_alive, w.host, w.pid, w.id); });
  return workers;
}

/// Items an hour of the time that was worked in [from_s, to_s]: breaks between runs do not count.
double rate_in(const Records& records, double from_s, double to_s) {
  std::vector<WorkTime> times;
  std::int64_t items = 0;
  for (const auto& [id, time] : records.done) {
    times.push_back(time);
    if (time.end_s > from_s && time.end_s <= to_s) ++items;
  }
  const double worked_s = covered_s(std::move(times), from_s, to_s);
  return worked_s > 0 ? static_cast<double>(items) / worked_s * s_per_hour : 0;
}

/// Items an hour that the living workers' steps lead to; what comes before and after the steps is not in it.
double rate_of_steps(const std::vector<WorkerStatus>& workers) {
  double rate = 0;
  for (const WorkerStatus& worker : workers) {
    if (worker.is_alive && worker.step_s > 0 && worker.steps > 0)
      rate += s_per_hour / (worker.step_s * worker.steps);
  }
  return rate;
}

std::optional<double> time_left_s(const BatchStatus& status) {
  double rate = status.last_hour_items_per_hour;
  if (rate <= 0) rate = status.overall_items_per_hour;
  if (rate <= 0) rate = rate_of_steps(status.workers);
  auto items = static_cast<double>(status.open() + status.running);
  for (const WorkerStatus& worker : status.workers) {
    if (worker.is_alive && worker.steps > 0) items -= static_cast<double>(worker.step) / worker.steps;
  }
  if (items <= 0) return 0;
  return rate > 0 ? std::optional(items / rate * s_per_hour) : std::nullopt;
}

void count_items(const std::filesystem::path& folder, const Records& records, BatchStatus& status) {
  std::set<std::string> running;
  for (const WorkerStatus& worker : status.workers)
    if (worker.is_alive && !worker.id.empty()) running.insert(worker.id);
  const auto is_at_rest = [&](const auto& entry) { return !running.contains(entry.first); };
  status.running = std::ssize(running);
  status.done = std::ranges::count_if(records.done, is_at_rest);
  status.failed = std::ranges::count_if(records.failed, is_at_rest);
  for (const BatchRecord& record : read_batch_records(folder / ".claims")) status.rows += record.rows;
  status.rows = std::max(status.rows, status.done + status.failed + status.running);
  const std::filesystem::path states = folder / ".state";
  if (!is_folder(states)) return;
  for (const std::string& name : names_in(states)) {
    if (name.starts_with('.') || !name.ends_with(state_suffix)) continue;
    const std::string id = name.substr(0, name.size() - state_suffix.size());
    if (!records.done.contains(id) && !running.contains(id)) ++status.saved;
  }
  status.saved = std::min(status.saved, status.open());
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
    fail<UsageError>("nothing in {} is of wan_batch: give the output folder of a batch (--output-dir)",
                     printable(folder.string()));
  }
  status.workers = list_workers(owners);
  for (const auto& [id, failure] : records.failed) status.failures.push_back(failure);
  count_items(folder, records, status);
  double last_s = 0;
  for (const auto& [id, time] : records.done) last_s = std::max(last_s, time.end_s);
  // A stopped batch's last hour is the one before it stopped.
  const double now_s =
      status.is_running() ? std::max(last_s, static_cast<double>(std::time(nullptr))) : last_s;
  status.last_hour_items_per_hour = rate_in(records, now_s - s_per_hour, now_s);
  status.overall_items_per_hour = rate_in(records, 0, now_s);
  status.left_s = time_left_s(status);
  return status;
}

}  // namespace wan::batch
