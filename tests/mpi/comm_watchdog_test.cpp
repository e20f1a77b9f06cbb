#include <fmt/format.h>
#include <gmock/gmock.h>
#include <spawn.h>
#include <sys/wait.h>

#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>

#include "comm/watch/watchdog.h"
#include "mpi/comm_backends.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;

constexpr std::uint64_t key = 77;

class ProgressBoardTest : public testing::Test {
 protected:
  void barrier() { world_->barrier().wait(); }

  MpiEnvironment environment_;
  std::unique_ptr<Communicator> world_ = make_mpi_world(environment_, {.timeout_s = test::patience_s});
};

TEST_F(ProgressBoardTest, ShowsEveryRankHowFarTheOthersAre) {
  ProgressBoard board(environment_, *world_);
  const auto own = static_cast<std::uint64_t>(world_->rank());
  {
    ProgressBoard::Row row = board.open("a group with a name that is too long for the board", key);
    row.started({.operation = Operation::all_to_all, .number = own + 40});
    row.finished({.operation = Operation::barrier, .number = own});
    barrier();
    const std::vector<RankProgress> ranks = board.ranks();
    ASSERT_THAT(ranks, SizeIs(static_cast<std::size_t>(world_->size())));
    for (std::size_t rank = 0; rank < ranks.size(); ++rank) {
      EXPECT_EQ(ranks[rank].world_rank, static_cast<int>(rank));
      EXPECT_FALSE(ranks[rank].gone);
      ASSERT_THAT(ranks[rank].groups, SizeIs(1));
      const GroupProgress& group = ranks[rank].groups[0];
      EXPECT_EQ(group.group, "a group with a name that");
      EXPECT_EQ(group.key, key);
      EXPECT_EQ(group.started, (CallMark{.operation = Operation::all_to_all, .number = rank + 40}));
      EXPECT_EQ(group.reached, std::nullopt);
      EXPECT_EQ(group.finished, (CallMark{.operation = Operation::barrier, .number = rank}));
    }
    barrier();
  }
  barrier();
  for (const RankProgress& rank : board.ranks()) EXPECT_THAT(rank.groups, IsEmpty());
}

TEST_F(ProgressBoardTest, RowsAreUsedAgainAndTheirNumberIsLimited) {
  ProgressBoard board(environment_, *world_);
  for (int round = 0; round < 2; ++round) {
    std::vector<ProgressBoard::Row> rows;
    rows.reserve(ProgressBoard::max_groups);
    for (int i = 0; i < ProgressBoard::max_groups; ++i) rows.push_back(board.open("vae", key));
    EXPECT_THROW(board.open("vae", key), Error);
  }
}

TEST_F(ProgressBoardTest, KnowsAProcessThatIsGone) {
  EXPECT_FALSE(process_is_gone(getpid()));
  std::string program = "/bin/true";
  char* arguments[] = {program.data(), nullptr};
  pid_t child = 0;
  ASSERT_EQ(posix_spawn(&child, program.c_str(), nullptr, nullptr, arguments, environ), 0);
  ASSERT_EQ(waitpid(child, nullptr, 0), child);
  EXPECT_TRUE(process_is_gone(child));
}

const CallRecord stuck{.operation = Operation::all_to_all, .number = 42, .bytes = 1000};

std::optional<CallMark> mark(std::uint64_t number, Operation operation = Operation::all_to_all) {
  return CallMark{.operation = operation, .number = number};
}

RankProgress rank_with(int world_rank, std::optional<CallMark> started, std::optional<CallMark> reached,
                       std::optional<CallMark> finished) {
  return {
      .world_rank = world_rank,
      .pid = 1000 + world_rank,
      .gone = false,
      .groups = {
          {.group = "other", .key = 1, .started = mark(7), .reached = {}, .finished = {}},
          {.group = "ulysses", .key = key, .started = started, .reached = reached, .finished = finished}}};
}

TEST(DescribePeers, SaysOfEachWhatItDoes) {
  std::vector<RankProgress> node{rank_with(10, mark(42), mark(42), mark(41)),
                                 rank_with(11, mark(42), mark(42), mark(41)),
                                 rank_with(12, mark(41), mark(41), mark(41)),
                                 rank_with(13, mark(50), mark(41), mark(41)),
                                 rank_with(14, mark(42, Operation::all_gather), mark(42), mark(41)),
                                 rank_with(15, mark(42), mark(42), mark(41)),
                                 rank_with(16, mark(43), mark(43), mark(42)),
                                 rank_with(17, {}, {}, {})};
  node[5].gone = true;
  node[7].groups.pop_back();
  const GroupIdentity identity{
      .name = "ulysses", .rank = 0, .world_ranks = {10, 11, 12, 13, 14, 15, 16, 17, 18}, .key = key};
  EXPECT_EQ(describe_peers(identity, stuck, node),
            "rank 1 (world rank 11) is in it too; rank 2 (world rank 12) lags: it last started all_to_all "
            "number 41 and finished all_to_all number 41; rank 3 (world rank 13) has issued it, but its "
            "device has not come to it: it computes, or waits in another group; it last finished all_to_all "
            "number 41; rank 4 (world rank 14) is in all_gather number 42 instead: the ranks disagree about "
            "the order of calls; rank 5 (world rank 15) has died: there is no process 1015 any more; rank 6 "
            "(world rank 16) is past it: it last finished all_to_all number 42; rank 7 (world rank 17) has "
            "left the group; rank 8 (world rank 18) is on another node: see its own message");
  EXPECT_THAT(describe_node(node),
              HasSubstr("  world rank 12, process 1012: 'other' started all_to_all number 7, reached none, "
                        "finished none; 'ulysses' started all_to_all number 41, reached all_to_all number "
                        "41, finished all_to_all number 41;\n"));
  EXPECT_THAT(describe_node(node), HasSubstr("process 1015 (gone)"));
}

/// A group whose state the test sets.
class ScriptedGroup final : public WatchedGroup {
 public:
  explicit ScriptedGroup(GroupIdentity identity) : identity_(std::move(identity)) {}
  const GroupIdentity& identity() const override { return identity_; }
  double timeout_s() const override { return 2; }
  Observation observe() override {
    ++looks;
    Observation seen;
    if (fails) seen.error = "NCCL reports unhandled system error";
    if (elapsed_s > 0) seen.running = {.call = stuck, .elapsed_s = elapsed_s};
    return seen;
  }

  std::atomic<int> looks = 0;
  std::atomic<double> elapsed_s = 0;
  std::atomic<bool> fails = false;

 private:
  GroupIdentity identity_;
};

std::vector<int> first_ranks(int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

class WatchdogTest : public ProgressBoardTest {
 protected:
  WatchdogTest() {
    watchdog_.emplace(environment_, *world_,
                      WatchdogOptions{.poll_interval_s = 0.005, .end_job = [this](const std::string& text) {
                                        const std::scoped_lock lock(mutex_);
                                        messages_.push_back(text);
                                      }});
  }

  std::vector<std::string> messages() {
    const std::scoped_lock lock(mutex_);
    return messages_;
  }

  template <typename Condition>
  static bool comes_true(Condition&& condition) {
    for (int i = 0; i < 4000 && !condition(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return condition();
  }

  ScriptedGroup group_{
      {.name = "ulysses", .rank = world_->rank(), .world_ranks = first_ranks(world_->size()), .key = key}};
  std::mutex mutex_;
  std::vector<std::string> messages_;
  std::optional<Watchdog> watchdog_;
};

TEST_F(WatchdogTest, NamesTheCallAndTheRankThatLags) {
  const int last = world_->size() - 1;
  ProgressBoard::Row row = watchdog_->board().open("ulysses", key);
  if (world_->rank() != last || last == 0) row.started(*mark(42));
  row.reached(*mark(world_->rank() == last ? 41 : 42));
  barrier();
  group_.elapsed_s = 1.9;
  watchdog_->add(group_);
  EXPECT_TRUE(comes_true([&] { return group_.looks > 3; }));
  EXPECT_THAT(messages(), IsEmpty());
  group_.elapsed_s = 2.5;
  EXPECT_TRUE(comes_true([&] { return !messages().empty(); }));
  const int looks = group_.looks;
  watchdog_->remove(group_);
  ASSERT_THAT(messages(), SizeIs(1));  // reported once
  EXPECT_THAT(
      messages()[0],
      AllOf(HasSubstr(fmt::format("world rank {0} on {1}: all_to_all number 42 (1000 bytes) timed out "
                                  "after 2.5 s (limit 2 s) on rank {0} of {2} in group 'ulysses'",
                                  world_->rank(), environment_.host_name(), world_->size())),
            HasSubstr("raise the collective timeout"), HasSubstr("reached all_to_all number 41")));
  if (world_->rank() != last) {
    EXPECT_THAT(messages()[0],
                HasSubstr(fmt::format("rank {0} (world rank {0}) lags: it last started none", last)));
  }
  EXPECT_EQ(group_.looks, looks);  // not observed after its removal
  barrier();
}

TEST_F(WatchdogTest, ReportsAFailedGroupAtOnce) {
  group_.fails = true;
  watchdog_->add(group_);
  EXPECT_TRUE(comes_true([&] { return !messages().empty(); }));
  watchdog_->remove(group_);
  EXPECT_THAT(messages()[0], AllOf(HasSubstr("has failed: NCCL reports unhandled system error"),
                                   Not(HasSubstr("timed out"))));
  barrier();
}

}  // namespace
}  // namespace wan::comm
