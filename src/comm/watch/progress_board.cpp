#include "comm/watch/progress_board.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <random>
#include <system_error>

#include "core/check.h"

namespace wan::comm {

/// A mark in one word, so that readers get it whole: (number + 1) * 256 + operation; 0 for no mark.
using MarkWord = std::atomic<std::uint64_t>;
static_assert(MarkWord::is_always_lock_free, "locks of one process mean nothing to another");

struct BoardGroup {
  std::atomic<std::uint64_t> key;  ///< 0: the row is free
  std::array<std::atomic<char>, 24> name;
  MarkWord started;
  MarkWord reached;
  MarkWord finished;
};

struct BoardRank {
  std::atomic<std::int64_t> pid;
  std::atomic<std::int32_t> world_rank;
  std::array<BoardGroup, ProgressBoard::max_groups> groups;
};

namespace {

constexpr unsigned operation_bits = 8;

std::uint64_t word_of(const CallMark& call) {
  return ((call.number + 1) << operation_bits) | static_cast<std::uint64_t>(call.operation);
}

std::optional<CallMark> read(const MarkWord& mark) {
  const std::uint64_t word = mark.load(std::memory_order_relaxed);
  if (word == 0) return std::nullopt;
  return CallMark{.operation = static_cast<Operation>(word & ((1u << operation_bits) - 1)),
                  .number = (word >> operation_bits) - 1};
}

std::string read_name(const BoardGroup& group) {
  std::string name;
  for (const std::atomic<char>& letter : group.name) {
    const char c = letter.load(std::memory_order_relaxed);
    if (c == '\0') break;
    name += c;
  }
  return name;
}

/// Throws the same Error on every rank if one rank passes an errno.
void agree(Communicator& world, int error, const char* what) {
  std::vector<int> errors(static_cast<std::size_t>(world.size()));
  world.all_gather(std::as_bytes(std::span(&error, 1)), std::as_writable_bytes(std::span(errors))).wait();
  const auto bad = std::ranges::find_if(errors, [](int code) { return code != 0; });
  if (bad == errors.end()) return;
  fail(
      "{} failed on rank {} of '{}': {}; the watchdog keeps the ranks' progress in POSIX shared memory: is "
      "/dev/shm there, writable and not full?",
      what, bad - errors.begin(), world.name(), std::generic_category().message(*bad));
}

}  // namespace

std::string CallMark::describe() const { return fmt::format("{} number {}", to_string(operation), number); }

bool process_is_gone(std::int64_t pid) { return kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH; }

/// The mapping of the segment into this process's memory. Throws std::system_error.
class ProgressBoard::Mapping {
 public:
  Mapping(const std::string& name, bool create, std::size_t bytes) : bytes_(bytes) {
    const int descriptor = shm_open(name.c_str(), create ? O_CREAT | O_EXCL | O_RDWR : O_RDWR, 0600);
    if (descriptor < 0) throw std::system_error(errno, std::generic_category());
    // Allocates the pages now. Otherwise a full /dev/shm would cause SIGBUS at the first store.
    const int full = create ? posix_fallocate(descriptor, 0, static_cast<off_t>(bytes)) : 0;
    address_ = full == 0 ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0) : nullptr;
    const int error = full != 0 ? full : errno;
    close(descriptor);
    if (full == 0 && address_ != MAP_FAILED) return;
    if (create) shm_unlink(name.c_str());
    throw std::system_error(error, std::generic_category());
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() { munmap(address_, bytes_); }

  BoardRank* ranks() const { return static_cast<BoardRank*>(address_); }

 private:
  std::size_t bytes_;
  void* address_ = nullptr;
};

ProgressBoard::ProgressBoard(const MpiRanks& ranks, Communicator& world)
    : local_rank_(ranks.local_rank()), local_size_(ranks.local_size()) {
  // One random word names every node's segment, so only ranks of this job on this node use the same name.
  std::uint64_t word = 0;
  if (world.rank() == 0) word = (std::uint64_t{std::random_device()()} << 32) | std::random_device()();
  world.broadcast(std::as_writable_bytes(std::span(&word, 1)), 0).wait();
  const std::string name = fmt::format("/wan_batch.{:016x}", word);
  const bool leader = local_rank_ == 0;

  const auto map = [&]() -> int {
    try {
      mapping_ =
          std::make_unique<Mapping>(name, leader, sizeof(BoardRank) * static_cast<std::size_t>(local_size_));
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    return 0;
  };
  int error = leader ? map() : 0;
  agree(world, error, "making the node's shared memory");
  if (!leader) error = map();
  if (error == 0) {
    BoardRank* own = std::construct_at(&rank_at(local_rank_));
    own->world_rank = ranks.world_rank();
    own->pid = getpid();
  }
  try {
    agree(world, error, "opening the node's shared memory");
  } catch (...) {
    if (leader) shm_unlink(name.c_str());
    throw;
  }
  if (leader) shm_unlink(name.c_str());
}

ProgressBoard::~ProgressBoard() = default;

BoardRank& ProgressBoard::rank_at(int local_rank) const { return mapping_->ranks()[local_rank]; }

ProgressBoard::Row ProgressBoard::open(std::string_view group, std::uint64_t key) {
  WAN_CHECK(key != 0, "group '{}' needs a key", group);
  for (BoardGroup& row : rank_at(local_rank_).groups) {
    if (row.key.load(std::memory_order_relaxed) != 0) continue;
    for (std::size_t i = 0; i < row.name.size(); ++i)
      row.name[i].store(i < group.size() ? group[i] : '\0', std::memory_order_relaxed);
    for (MarkWord* mark : {&row.started, &row.reached, &row.finished})
      mark->store(0, std::memory_order_relaxed);
    row.key.store(key, std::memory_order_release);
    return Row(row);
  }
  fail("group '{}': this rank is in {} groups already, more than the watchdog can follow", group, max_groups);
}

std::vector<RankProgress> ProgressBoard::ranks() const {
  std::vector<RankProgress> all;
  for (int local_rank = 0; local_rank < local_size_; ++local_rank) {
    const BoardRank& rank = rank_at(local_rank);
    RankProgress progress{.world_rank = rank.world_rank, .pid = rank.pid, .gone = false, .groups = {}};
    progress.gone = process_is_gone(progress.pid);
    for (const BoardGroup& group : rank.groups) {
      const std::uint64_t key = group.key.load(std::memory_order_acquire);
      if (key == 0) continue;
      progress.groups.push_back({.group = read_name(group),
                                 .key = key,
                                 .started = read(group.started),
                                 .reached = read(group.reached),
                                 .finished = read(group.finished)});
    }
    all.push_back(std::move(progress));
  }
  std::ranges::sort(all, {}, &RankProgress::world_rank);
  return all;
}

ProgressBoard::Row::Row(Row&& other) noexcept : group_(std::exchange(other.group_, nullptr)) {}

ProgressBoard::Row::~Row() {
  if (group_ != nullptr) group_->key.store(0, std::memory_order_release);
}

void ProgressBoard::Row::started(const CallMark& call) {
  group_->started.store(word_of(call), std::memory_order_relaxed);
}

void ProgressBoard::Row::reached(const CallMark& call) {
  group_->reached.store(word_of(call), std::memory_order_relaxed);
}

void ProgressBoard::Row::finished(const CallMark& call) {
  group_->finished.store(word_of(call), std::memory_order_relaxed);
}

}  // namespace wan::comm
