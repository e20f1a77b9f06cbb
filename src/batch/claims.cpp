#include "batch/claims.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cmath>
#include <condition_variable>
#include <csignal>
#include <cstring>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "batch/claim_link.h"
#include "batch/output_folder.h"
#include "batch/text.h"
#include "core/check.h"
#include "core/file.h"

namespace wan::batch {
namespace {

using nlohmann::json;
using std::chrono::steady_clock;

constexpr std::uint64_t max_claim_bytes = 64U << 10;
constexpr int max_generation = 1000;  // bounds the search when a folder is tampered with
constexpr int largest_gap = 4;
constexpr std::string_view owner_prefix = ".owner-";
constexpr std::size_t counter_digits = 16;
constexpr std::size_t progress_columns = 256;  // fixed, so that a line is replaced in place
constexpr std::size_t request_columns = 48;

std::string progress_line(const json& fields) {
  std::string text = fields.dump(-1, ' ', false, json::error_handler_t::replace);
  if (text.size() > progress_columns) text = "{}";
  return fmt::format("{:<{}}\n", text, progress_columns);
}

std::string request_line(std::string_view request) {
  return fmt::format("{:<{}}\n", request, request_columns);
}

/// What the owner of a claim makes. It writes that down before it makes the link, and after it has removed
/// the link of its last item: while the link is there, the line is about its item.
std::string request_in(std::string_view content) {
  constexpr int lines_before = 3;  // the counter, the owner, the progress
  for (int line = 0; line < lines_before; ++line) {
    const std::size_t end = content.find('\n');
    if (end == std::string_view::npos) return {};
    content.remove_prefix(end + 1);
  }
  return std::string(trim(content.substr(0, content.find('\n'))));
}

std::string counter_text(std::uint64_t count) { return fmt::format("{:0{}}\n", count, counter_digits); }

/// The counter comes first and has a fixed width, so that a beat rewrites these bytes and nothing else.
std::string owner_text(const ClaimOwner& owner) {
  const json fields{{"host", owner.host}, {"pid", owner.pid},         {"job", owner.job},
                    {"run", owner.run},   {"machine", owner.machine}, {"token", owner.token}};
  return counter_text(0) + fields.dump(-1, ' ', false, json::error_handler_t::replace) + "\n" +
         progress_line(json::object()) + request_line({});
}

/// Nothing if the content is not an owner's: cut short by a crash, or not ours at all.
std::optional<ClaimOwner> parse_owner(std::string_view content) {
  try {
    content.remove_prefix(std::min(content.size(), counter_digits + 1));
    const json fields = json::parse(content.substr(0, content.find('\n')));
    ClaimOwner owner{.host = fields.at("host"),
                     .pid = fields.at("pid"),
                     .job = fields.at("job"),
                     .run = fields.at("run"),
                     .machine = fields.at("machine"),
                     .token = fields.at("token")};
    if (!is_token(owner.token)) return std::nullopt;
    return owner;
  } catch (const json::exception&) {
    return std::nullopt;
  }
}

std::string describe(std::string_view content) {
  const auto owner = parse_owner(content);
  if (!owner) return "an unknown owner";
  return printable(fmt::format("{}, process {}{}", owner->host, owner->pid,
                               owner->job.empty() ? std::string() : fmt::format(", job {}", owner->job)));
}

/// What comes after the owner's line: its progress.
std::string_view last_line(std::string_view content) {
  for (int line = 0; line < 2; ++line) {
    const std::size_t end = content.find('\n');
    if (end == std::string_view::npos) return {};
    content.remove_prefix(end + 1);
  }
  return content;
}

/// The content of a claim as it lies there; nothing if it is gone. Something that is no file reads as empty,
/// and so ages like any other silent claim.
std::optional<std::string> read_claim_file(const std::filesystem::path& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
  if (!S_ISREG(status.st_mode)) return std::string();
  try {
    return read_text_file(path, max_claim_bytes);
  } catch (const Error&) {
    if (::lstat(path.c_str(), &status) != 0) return std::nullopt;
    // Of another user's file that may not be read, the time of its last beat can be seen.
    if (::access(path.c_str(), R_OK) == 0) return std::string();
    return fmt::format("changed at {}.{:09}", status.st_mtim.tv_sec, status.st_mtim.tv_nsec);
  }
}

/// read_claim_file(), but of a copy of an owner file what the owner file says, while that is there: the copy
/// does not beat.
std::optional<std::string> read_claim(const std::filesystem::path& path) {
  std::optional<std::string> content = read_claim_file(path);
  if (!content || !is_claim_copy(*content)) return content;
  const auto owner = parse_owner(*content);
  if (!owner) return content;
  std::optional<std::string> beating = read_claim_file(owner_file(path.parent_path(), owner->token));
  return beating && parse_owner(*beating) ? beating : content;
}

bool is_there(const std::filesystem::path& path) {
  struct stat status {};
  return ::lstat(path.c_str(), &status) == 0;
}

/// Whether a file is a claim or an owner file of this program, or one that a crash left empty, and not
/// somebody's own under such a name.
bool is_claim_file(const std::filesystem::path& path) {
  const auto content = read_claim(path);
  return content && plain_file_size(path) && (content->empty() || parse_owner(*content));
}

/// A process that has ended and whose parent has not asked for its exit code, which may take for ever: a
/// container's first process need not be one that asks.
bool is_zombie(std::int64_t pid) {
  std::array<char, 512> text{};
  const UniqueFd file(::open(fmt::format("/proc/{}/stat", pid).c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  const ssize_t size = ::read(file.get(), text.data(), text.size());
  if (size <= 0) return false;
  // "PID (NAME) STATE ...", and the name may hold brackets of its own.
  const std::string_view stat(text.data(), static_cast<std::size_t>(size));
  const std::size_t name_end = stat.rfind(')');
  return name_end != std::string_view::npos && stat.substr(name_end).starts_with(") Z");
}

/// A process that this machine can see to be gone need not be waited for.
bool has_died(const ClaimOwner& owner, const ClaimOwner& self) {
  if (self.machine.empty() || owner.machine != self.machine || owner.pid <= 0) return false;
  return is_gone(owner.pid);
}

/// The part of a machine's name that changes when it is started anew. Process namespaces may come and go.
std::string_view boot_of(std::string_view machine) { return machine.substr(0, machine.find(' ')); }

DeadOwner describe_dead(const ClaimOwner& owner, std::string_view content, const std::string& id,
                        const ClaimOwner& self) {
  DeadOwner dead{
      .token = owner.token, .who = describe(content), .host = owner.host, .job = owner.job, .run = owner.run};
  dead.machine_is_up = !self.machine.empty() && boot_of(owner.machine) == boot_of(self.machine);
  const json progress = json::parse(last_line(content), nullptr, false);
  if (!progress.is_object()) return dead;
  const auto is_true = [&](const char* key) {
    const auto found = progress.find(key);
    return found != progress.end() && found->is_boolean() && found->get<bool>();
  };
  const auto item = progress.find("id");
  dead.was_at_work = item != progress.end() && *item == id;
  dead.was_told_to_stop = is_true("told_to_stop");
  return dead;
}

}  // namespace

std::string this_machine() {
  try {
    std::array<char, 37> boot{};  // /proc files have no size of their own: read_text_file would see nothing
    const UniqueFd file(::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC));
    if (!file || ::read(file.get(), boot.data(), 36) != 36) return {};
    return fmt::format("{} {}", boot.data(), std::filesystem::read_symlink("/proc/self/ns/pid").string());
  } catch (const std::filesystem::filesystem_error&) {
    return {};
  }
}

bool is_gone(std::int64_t pid) {
  if (::kill(static_cast<pid_t>(pid), 0) != 0) return errno == ESRCH;
  return is_zombie(pid);
}

ClaimOwner ClaimOwner::this_process(std::string run, std::string job) {
  std::array<char, 256> host{};
  const bool is_named = ::gethostname(host.data(), host.size() - 1) == 0;
  return {.host = is_named ? host.data() : "unknown",
          .pid = ::getpid(),
          .job = std::move(job),
          .run = std::move(run),
          .machine = this_machine(),
          .token = random_token()};
}

std::filesystem::path owner_file(const std::filesystem::path& claims, std::string_view token) {
  return claims / fmt::format("{}{}", owner_prefix, token);
}

/// Owns the owner file and bumps its counter until destroyed.
class ClaimBoard::Heartbeat {
 public:
  Heartbeat(std::filesystem::path path, const std::string& text, const ClaimTiming& timing)
      : path_(std::move(path)),
        period_(timing.heartbeat),
        longest_pause_(std::max<steady_clock::duration>(timing.stale_after / 2, 2 * timing.heartbeat)) {
    create_file(path_, text);
    request_offset_ = static_cast<off_t>(text.size() - request_columns - 1);
    progress_offset_ = request_offset_ - static_cast<off_t>(progress_columns + 1);
    file_ = UniqueFd(::open(path_.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file_ || ::fstat(file_.get(), &status_) != 0) {
      fail("cannot open {}: {}", path_.string(), std::strerror(errno));
    }
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  Heartbeat(const Heartbeat&) = delete;
  Heartbeat& operator=(const Heartbeat&) = delete;
  Heartbeat(Heartbeat&&) = delete;
  Heartbeat& operator=(Heartbeat&&) = delete;
  ~Heartbeat() {
    thread_.request_stop();
    thread_.join();
    ::unlink(path_.c_str());
  }

  /// Should it fail, whoever looks sees an older line.
  void write_progress(std::string_view text) const noexcept {
    if (::pwrite(file_.get(), text.data(), text.size(), progress_offset_) < 0) return;
  }

  /// Since when this process has been running without a long pause. After one, as when it was suspended or
  /// its disk stalled, it cannot know of others' silence: they may have been away as long.
  steady_clock::time_point here_since() const {
    const auto now = steady_clock::now();
    if (now - steady_clock::time_point(steady_clock::duration(last_beat_)) > longest_pause_) return now;
    return steady_clock::time_point(steady_clock::duration(here_since_));
  }

  /// Flushed, so that whoever sees the link that follows reads this line.
  void write_request(const std::string& request) {
    if (request == request_) return;
    const std::string line = request_line(request);
    if (::pwrite(file_.get(), line.data(), line.size(), request_offset_) != std::ssize(line) ||
        ::fsync(file_.get()) != 0) {
      fail("cannot write {}: {}", printable(path_.string()), std::strerror(errno));
    }
    request_ = request;
  }

  const std::filesystem::path& path() const { return path_; }
  bool is_file(const struct stat& other) const {
    return other.st_ino == status_.st_ino && other.st_dev == status_.st_dev;
  }

 private:
  void run(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any wake;
    std::unique_lock lock(mutex);
    for (std::uint64_t count = 1; !wake.wait_for(lock, stop, period_, [&] { return stop.stop_requested(); });
         ++count) {
      const steady_clock::rep now = steady_clock::now().time_since_epoch().count();
      if (steady_clock::duration(now - last_beat_) > longest_pause_) here_since_ = now;
      last_beat_ = now;
      // A beat that cannot be written is not an error here: if that lasts, the item is taken over, and
      // Claim::is_held() says so. fsync makes other hosts of a network file system see it.
      const std::string text = counter_text(count);
      if (::pwrite(file_.get(), text.data(), text.size(), 0) > 0) ::fsync(file_.get());
    }
  }

  std::filesystem::path path_;
  std::chrono::milliseconds period_;
  steady_clock::duration longest_pause_;
  std::atomic<steady_clock::rep> last_beat_ = steady_clock::now().time_since_epoch().count();
  std::atomic<steady_clock::rep> here_since_ = last_beat_.load();
  off_t progress_offset_ = 0;
  off_t request_offset_ = 0;
  std::string request_;
  UniqueFd file_;
  struct stat status_ {};
  std::jthread thread_;
};

Claim::Claim(const ClaimBoard& board, std::string id, int generation, std::vector<DeadOwner> dead_owners)
    : board_(&board), id_(std::move(id)), generation_(generation), dead_owners_(std::move(dead_owners)) {}

Claim::Claim(Claim&& other) noexcept
    : board_(std::exchange(other.board_, nullptr)),
      id_(std::move(other.id_)),
      generation_(other.generation_),
      dead_owners_(std::move(other.dead_owners_)) {}

Claim::~Claim() {
  if (board_ != nullptr) board_->release(id_, generation_);
}

std::vector<std::string> Claim::dead_tokens() const {
  std::vector<std::string> tokens;
  for (const DeadOwner& owner : dead_owners_) tokens.push_back(owner.token);
  return tokens;
}

bool Claim::is_held() const { return board_->is_held(id_, generation_); }

ClaimBoard::ClaimBoard(std::filesystem::path folder, ClaimOwner owner, ClaimTiming timing)
    : folder_(std::move(folder)), owner_(std::move(owner)), timing_(timing) {
  remove_orphans();
  held_at_start_ = claimed_ids();
  heartbeat_ = std::make_unique<Heartbeat>(owner_file(folder_, owner_.token), owner_text(owner_), timing_);
}

ClaimBoard::~ClaimBoard() {
  try {
    remove_orphans();
  } catch (const std::exception&) {
    // What cannot be listed now is left to the next board.
    return;
  }
}

void ClaimBoard::show_progress(const std::optional<ClaimProgress>& progress) const noexcept {
  const std::scoped_lock lock(progress_mutex_);
  progress_ = progress;
  write_progress();
}

void ClaimBoard::note_stop() const noexcept {
  const std::scoped_lock lock(progress_mutex_);
  is_told_to_stop_ = true;
  write_progress();
}

/// With the mutex held.
void ClaimBoard::write_progress() const noexcept {
  try {
    json fields = json::object();
    if (progress_) {
      fields = {{"id", progress_->id},
                {"phase", progress_->phase},
                {"step", progress_->step},
                {"steps", progress_->steps},
                {"step_s", std::round(progress_->step_s * 1e4) / 1e4}};
    }
    if (is_told_to_stop_) fields["told_to_stop"] = true;
    heartbeat_->write_progress(progress_line(fields));
  } catch (const std::exception&) {
    return;  // no memory for a line of text: there will be other trouble
  }
}

std::filesystem::path ClaimBoard::link_path(const std::string& id, int generation) const {
  return folder_ /
         (generation == 0 ? fmt::format("{}.claim", id) : fmt::format("{}.claim.{}", id, generation));
}

/// By the inode, or else by the token in it: on sshfs and its like a link has an inode number of its own, and
/// a copy has one everywhere.
bool ClaimBoard::is_ours(const std::filesystem::path& link) const {
  struct stat status {};
  if (::lstat(link.c_str(), &status) != 0) return false;
  if (heartbeat_->is_file(status)) return true;
  const auto content = read_claim(link);
  const auto owner = content ? parse_owner(*content) : std::nullopt;
  return owner && owner->token == owner_.token;
}

/// Only one of many processes succeeds.
bool ClaimBoard::make_link(const std::filesystem::path& link) const {
  switch (make_claim_link(heartbeat_->path(), link)) {
    case ClaimLink::made:
      return true;
    case ClaimLink::taken:
      // A network file system may have done it and lost the answer: then the repeated call finds our own
      // file.
      return is_ours(link);
  }
  return false;
}

/// -1 if nobody has claimed the item. A crash in the middle of a release leaves gaps in the chain.
int ClaimBoard::highest_generation(const std::string& id) const {
  int highest = -1;
  for (int generation = 0; generation <= highest + largest_gap && generation <= max_generation;
       ++generation) {
    if (is_there(link_path(id, generation))) highest = generation;
  }
  return highest;
}

/// An owner beats for all of its claims, so what is remembered is one sighting per owner, however many of its
/// items were passed by.
ClaimBoard::Life ClaimBoard::judge(const std::string& link, const std::string& content) {
  const auto owner = parse_owner(content);
  if (owner && has_died(*owner, owner_)) return Life::dead;
  // A run lives and dies as one: with one of its processes the launcher ends them all. Should one only be
  // silent, find_silent_partner() tells.
  if (owner && is_partner(*owner)) return Life::alive;
  return watch(owner ? owner->token : link, content);
}

bool ClaimBoard::is_partners(const std::string& content) const {
  const auto owner = parse_owner(content);
  return owner && is_partner(*owner);
}

bool ClaimBoard::is_partner(const ClaimOwner& owner) const {
  return !owner.run.empty() && owner.run == owner_.run && owner.token != owner_.token;
}

ClaimBoard::Life ClaimBoard::watch(const std::string& key, const std::string& content) {
  const auto now = steady_clock::now();
  const auto [found, is_new] = sightings_.try_emplace(key, Sighting{.content = content, .since = now});
  Sighting& sighting = found->second;
  sighting.since = std::max(sighting.since, heartbeat_->here_since());
  if (!is_new && sighting.content != content) {
    sighting = Sighting{.content = content, .since = now, .has_beaten = true};
  }
  if (now - sighting.since >= timing_.stale_after) return Life::dead;
  return sighting.has_beaten ? Life::alive : Life::undecided;
}

/// Before a link is made.
void ClaimBoard::tell(const std::function<std::string()>& request) const {
  const std::string text = request ? request() : std::string();
  WAN_CHECK(text.size() <= request_columns, "a request of {} characters", text.size());
  heartbeat_->write_request(text);
}

ClaimAttempt ClaimBoard::try_claim(const std::string& id, const std::function<std::string()>& request) {
  using Outcome = ClaimAttempt::Outcome;
  for (int tries = 0; tries < 3; ++tries) {
    const int generation = highest_generation(id);
    if (generation < 0) {
      tell(request);
      if (!make_link(link_path(id, 0))) continue;  // somebody was faster: look at them
      if (is_held(id, 0)) {
        return {.outcome = Outcome::acquired, .claim = Claim(*this, id, 0, {}), .holder = {}, .request = {}};
      }
      // A taker's link is ahead of a chain whose lower links were just released: it owns, not we.
      ::unlink(link_path(id, 0).c_str());
      continue;
    }
    const std::filesystem::path link = link_path(id, generation);
    const auto content = read_claim(link);
    if (!content) continue;  // released a moment ago
    const Life life = judge(link.filename().string(), *content);
    if (life == Life::dead) {
      tell(request);
      return take_over(id, generation, *content);
    }
    if (!is_there(link)) continue;  // released meanwhile: what it makes may be another item already
    return {.outcome = life == Life::alive ? Outcome::alive : Outcome::undecided,
            .claim = {},
            .holder = describe(*content),
            .request = is_partners(*content) ? std::string() : request_in(*content)};
  }
  return {.outcome = Outcome::undecided, .claim = {}, .holder = "several at once", .request = {}};
}

ClaimAttempt ClaimBoard::take_over(const std::string& id, int generation, const std::string& content) {
  using Outcome = ClaimAttempt::Outcome;
  const auto lost = [] {
    return ClaimAttempt{
        .outcome = Outcome::undecided, .claim = {}, .holder = "another one that took it over", .request = {}};
  };
  const int mine = generation + 1;
  WAN_CHECK(mine <= max_generation, "{} was taken over {} times; remove its claims from {}", id, generation,
            folder_.string());
  if (!make_link(link_path(id, mine))) return lost();
  // The link counts only while the dead claim below it is the one that was judged.
  const auto below = read_claim(link_path(id, generation));
  if (!below || *below != content || highest_generation(id) != mine) {
    ::unlink(link_path(id, mine).c_str());
    return lost();
  }
  return {.outcome = Outcome::acquired,
          .claim = Claim(*this, id, mine, owners_below(id, mine)),
          .holder = {},
          .request = {}};
}

std::vector<DeadOwner> ClaimBoard::owners_below(const std::string& id, int generation) const {
  std::vector<DeadOwner> owners;
  for (int below = 0; below < generation; ++below) {
    const auto content = read_claim(link_path(id, below));
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    if (owner && owner->token != owner_.token) owners.push_back(describe_dead(*owner, *content, id, owner_));
  }
  return owners;
}

bool ClaimBoard::is_held(const std::string& id, int generation) const {
  return is_ours(link_path(id, generation)) && highest_generation(id) == generation;
}

void ClaimBoard::release(const std::string& id, int generation) const noexcept {
  // A higher link is another owner's who took this for dead; the chain is theirs to clear away.
  if (!is_held(id, generation)) return;
  // From the bottom: while the own link is there nobody else is owner. What cannot be removed goes stale.
  for (int link = 0; link <= generation; ++link) {
    const std::filesystem::path path = link_path(id, link);
    if (is_claim_file(path)) ::unlink(path.c_str());
  }
}

std::vector<std::string> ClaimBoard::claimed_ids() const {
  constexpr std::string_view mark = ".claim";
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string name = entry.path().filename().string();
    // Generations are digits after the mark; an id may hold the mark, so it is the last that counts.
    const std::size_t end = name.rfind(mark);
    if (end != std::string::npos && end > 0) ids.push_back(name.substr(0, end));
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  return ids;
}

std::optional<std::string> ClaimBoard::find_silent_partner() {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(owner_prefix)) continue;
    const auto content = read_claim(entry.path());
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    if (owner && is_partner(*owner) && watch(owner->token, *content) == Life::dead) return describe(*content);
  }
  return std::nullopt;
}

void ClaimBoard::remove_orphans() const {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    if (!entry.path().filename().string().starts_with(owner_prefix)) continue;
    const auto content = read_claim(entry.path());
    const auto owner = content ? parse_owner(*content) : std::nullopt;
    // A copy that somebody made of an owner's file is theirs.
    if (owner && has_died(*owner, owner_) && entry.path() == owner_file(folder_, owner->token)) {
      ::unlink(entry.path().c_str());
    }
  }
}

}  // namespace wan::batch
