#include "store/claims.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>
#include <malloc.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <fstream>
#include <functional>
#include <latch>
#include <nlohmann/json.hpp>
#include <thread>

#include "store/output_folder.h"
#include "support/shared_count.h"
#include "support/temp_dir.h"

namespace wan::store {
namespace {

using Outcome = ClaimAttempt::Outcome;
using std::chrono::milliseconds;

constexpr ClaimTiming quick{.heartbeat = milliseconds(20), .stale_after = milliseconds(300)};
/// An observer with this waits for a beat, however late it comes on a busy machine.
constexpr ClaimTiming patient{.heartbeat = milliseconds(20), .stale_after = std::chrono::hours(1)};
/// An owner with this never beats. As an observer, it does not take its own late beats for an absence.
constexpr ClaimTiming silent{.heartbeat = std::chrono::hours(1), .stale_after = milliseconds(300)};

class ClaimsTest : public ::testing::Test {
 protected:
  /// Owners of one run count on each other's being alive; these do not.
  std::string new_run() { return fmt::format("run {}", ++runs_); }
  Claims board(ClaimTiming timing = quick) {
    return {folder_.claims(), ClaimOwner::this_process(new_run(), "job"), timing};
  }
  /// Asks until something else than undecided comes, as the run loop does.
  static ClaimAttempt settle(Claims& board, const std::string& id) {
    for (int tries = 0;; ++tries) {
      ClaimAttempt attempt = board.try_claim(id);
      if (attempt.outcome != Outcome::undecided || tries == 20'000) return attempt;
      std::this_thread::sleep_for(milliseconds(2));
    }
  }
  std::size_t entries() const {
    return static_cast<std::size_t>(
        std::ranges::distance(std::filesystem::directory_iterator(folder_.claims())));
  }

  wan::test::TempDir dir_;
  OutputFolder folder_{dir_ / "out"};
  std::atomic<int> runs_ = 0;  // threads make boards too
};

/// All processes of a run are suspended for longer than it takes to be dead, and go on one after the other.
TEST_F(ClaimsTest, AnObserverThatWasAwayItselfStartsCountingAgain) {
  constexpr ClaimTiming timing{.heartbeat = milliseconds(20), .stale_after = milliseconds(1000)};
  const auto in_child = [&](wan::test::SharedCount& looks, const std::function<bool(Claims&)>& has_ended) {
    const pid_t child = ::fork();
    if (child != 0) return child;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    Claims own(folder_.claims(), ClaimOwner::this_process("one run", "job"), timing);
    for (;; ++*looks) {
      if (has_ended(own)) ::_exit(1);
      std::this_thread::sleep_for(milliseconds(5));
    }
  };
  wan::test::SharedCount of_partner;
  const pid_t partner = in_child(of_partner, [](Claims&) { return false; });
  of_partner.wait_for_more(1);
  wan::test::SharedCount of_observer;
  const pid_t observer =
      in_child(of_observer, [](Claims& own) { return own.find_silent_partner().has_value(); });
  EXPECT_TRUE(of_observer.wait_for_more(2, observer));
  const auto send = [](pid_t child, int signal) {
    ::kill(child, signal);
    ::waitpid(child, nullptr, WUNTRACED);
  };
  for (const pid_t child : {observer, partner}) send(child, SIGSTOP);
  std::this_thread::sleep_for(timing.stale_after + milliseconds(100));
  ::kill(observer, SIGCONT);
  EXPECT_TRUE(of_observer.wait_for_more(2, observer)) << "the partner, still suspended, was taken for dead";
  ::kill(partner, SIGCONT);
  of_partner.wait_for_more(2);
  EXPECT_TRUE(of_observer.wait_for_more(20, observer)) << "the partner was taken for dead";
  for (const pid_t child : {observer, partner}) send(child, SIGKILL);
}

TEST_F(ClaimsTest, OneHoldsOthersSeeItAliveUntilReleased) {
  {
    Claims first = board();
    Claims second = board(patient);
    {
      const ClaimAttempt mine = first.try_claim("a");
      ASSERT_EQ(mine.outcome, Outcome::acquired);
      EXPECT_TRUE(mine.claim->is_held());
      const ClaimAttempt theirs = settle(second, "a");
      EXPECT_EQ(theirs.outcome, Outcome::alive);
      EXPECT_NE(theirs.holder.find(fmt::format("process {}, job job", ::getpid())), std::string::npos);
    }
    EXPECT_EQ(settle(second, "a").outcome, Outcome::acquired);
  }
  EXPECT_EQ(entries(), 0U);
}

TEST_F(ClaimsTest, AClaimTellsWhatItsOwnerMakes) {
  Claims first = board();
  Claims second = board(patient);
  {
    const ClaimAttempt mine = first.try_claim("a", [] { return std::string("0123456789abcdef 42"); });
    ASSERT_EQ(mine.outcome, Outcome::acquired);
    EXPECT_EQ(settle(second, "a").request, "0123456789abcdef 42");
    first.show_progress(ClaimProgress{.id = "a", .phase = "denoise", .step = 3, .steps = 40, .step_s = 1.25});
    EXPECT_EQ(settle(second, "a").request, "0123456789abcdef 42");
  }
  const ClaimAttempt next = first.try_claim("b", [] { return std::string("x"); });
  EXPECT_EQ(settle(second, "b").request, "x");
  EXPECT_EQ(settle(second, "a").outcome, Outcome::acquired);
}

TEST_F(ClaimsTest, OwnersOfEarlierVersionsTellNothing) {
  std::ofstream(folder_.claims() / "a.claim")
      << "0000000000000007\n"
      << R"({"host":"far","pid":1,"job":"","run":"r","machine":"other","token":")" << std::string(32, 'd')
      << "\"}\n{}\n";
  EXPECT_EQ(board().try_claim("a").request, "");
}

TEST_F(ClaimsTest, FilesOfTheUserAmongTheClaimsStay) {
  for (const char* name : {"a.claim", ".owner-notes"}) std::ofstream(folder_.claims() / name) << "mine";
  const std::filesystem::path copy = folder_.claims() / ".owner-copy";
  std::ofstream(copy) << "0000000000000007\n"
                      << nlohmann::json{{"host", "here"},
                                        {"pid", 99999999},
                                        {"job", ""},
                                        {"run", "r"},
                                        {"machine", ClaimOwner::this_process("", "").machine},
                                        {"token", std::string(32, 'd')}}
                      << "\n";
  {
    Claims mine = board();
    EXPECT_EQ(settle(mine, "a").outcome, Outcome::acquired);
  }
  EXPECT_EQ(entries(), 3U) << "the claim of its own is gone, what was there stays";
}

TEST_F(ClaimsTest, SilentOwnerOfAnotherMachineIsTakenOverOnce) {
  const std::string token(32, 'd');
  std::ofstream(folder_.claims() / "a.claim")
      << "0000000000000007\n"
      << R"({"host":"far","pid":1,"job":"","run":"r","machine":"other","token":")" << token << "\"}\n";
  Claims first = board();
  Claims second = board(patient);
  EXPECT_EQ(first.try_claim("a").outcome, Outcome::undecided) << "nobody is dead at first sight";
  const ClaimAttempt taken = settle(first, "a");
  ASSERT_EQ(taken.outcome, Outcome::acquired);
  EXPECT_EQ(taken.claim->dead_tokens(), std::vector<std::string>{token});
  EXPECT_EQ(settle(second, "a").outcome, Outcome::alive);
  EXPECT_TRUE(taken.claim->is_held());
}

TEST_F(ClaimsTest, GarbageAndForeignObjectsAgeLikeAnySilentClaim) {
  std::ofstream(folder_.claims() / "text.claim") << "not a claim";
  std::ofstream(folder_.claims() / "empty.claim").flush();
  std::filesystem::create_directory(folder_.claims() / "folder.claim");
  std::filesystem::create_symlink("/dev/zero", folder_.claims() / "link.claim");
  Claims mine = board();
  for (const std::string id : {"text", "empty", "folder", "link"}) {
    EXPECT_EQ(settle(mine, id).outcome, Outcome::acquired) << id;
  }
}

TEST_F(ClaimsTest, OwnersOfOneRunDoNotWaitToSeeEachOtherBeat) {
  const ClaimTiming slow{.heartbeat = std::chrono::hours(1), .stale_after = std::chrono::hours(2)};
  Claims first(folder_.claims(), ClaimOwner::this_process("run", "job"), slow);
  Claims second(folder_.claims(), ClaimOwner::this_process("run", "job"), slow);
  const ClaimAttempt held = first.try_claim("a");
  EXPECT_EQ(second.try_claim("a").outcome, Outcome::alive);
}

TEST_F(ClaimsTest, ASilentOwnerOfTheSameRunIsNamed) {
  Claims first(folder_.claims(), ClaimOwner::this_process("run", "4711"), silent);
  EXPECT_EQ(first.find_silent_partner(), std::nullopt) << "alone";
  Claims hung(folder_.claims(), ClaimOwner::this_process("run", "4711"), silent);
  Claims stranger(folder_.claims(), ClaimOwner::this_process("another run", "12"), silent);
  EXPECT_EQ(first.find_silent_partner(), std::nullopt) << "not seen for long enough";
  std::this_thread::sleep_for(milliseconds(400));
  const auto found = first.find_silent_partner();
  ASSERT_TRUE(found.has_value());
  EXPECT_NE(found->find("job 4711"), std::string::npos) << *found;
}

TEST_F(ClaimsTest, ProgressStandsInTheOwnersFileOnALineOfItsOwn) {
  Claims mine = board();
  const auto line = [&] {
    for (const auto& entry : std::filesystem::directory_iterator(folder_.claims())) {
      std::ifstream file(entry.path());
      std::string text;
      for (int i = 0; i < 3; ++i) std::getline(file, text);
      EXPECT_EQ(text.size(), 256U);
      return nlohmann::json::parse(text);
    }
    return nlohmann::json();
  };
  EXPECT_EQ(line(), nlohmann::json::object());
  mine.show_progress(ClaimProgress{.id = "cat", .phase = "denoise", .step = 3, .steps = 40, .step_s = 1.25});
  EXPECT_EQ(line(), (nlohmann::json{
                        {"id", "cat"}, {"phase", "denoise"}, {"step", 3}, {"steps", 40}, {"step_s", 1.25}}));
  mine.show_progress(ClaimProgress{.id = std::string(300, 'x'), .phase = "denoise"});
  EXPECT_EQ(line(), nlohmann::json::object()) << "too long for its place";
  const ClaimAttempt attempt = mine.try_claim("a");
  EXPECT_TRUE(attempt.claim->is_held()) << "and the file is still an owner's";
}

TEST_F(ClaimsTest, OthersKnowTheRequestOfTheItemAtWorkAndNotOfThoseInWriting) {
  Claims mine = board();
  const auto claim = [&](const std::string& id) {
    return mine.try_claim(id, [&] { return "request of " + id; });
  };
  const auto seen = [&](const std::string& id) {
    Claims other = board(patient);
    return settle(other, id).request;
  };
  const ClaimAttempt first = claim("a");
  mine.show_progress(ClaimProgress{.id = "a", .phase = "decode"});
  EXPECT_EQ(seen("a"), "request of a");
  mine.show_writing(1);
  EXPECT_EQ(seen("a"), "request of a");
  mine.show_progress(std::nullopt);
  EXPECT_EQ(seen("a"), "");
  const ClaimAttempt second = claim("b");
  EXPECT_EQ(seen("a"), "") << "the line is about b now";
  EXPECT_EQ(seen("b"), "");
  mine.show_progress(ClaimProgress{.id = "b", .phase = ""});
  EXPECT_EQ(seen("a"), "");
  EXPECT_EQ(seen("b"), "request of b");
}

TEST_F(ClaimsTest, SuspendedOwnerLearnsThatItLost) {
  Claims sleeper = board(silent);
  const ClaimAttempt early = sleeper.try_claim("a");
  ASSERT_EQ(early.outcome, Outcome::acquired);
  Claims taker = board();
  const ClaimAttempt late = settle(taker, "a");
  ASSERT_EQ(late.outcome, Outcome::acquired);
  EXPECT_FALSE(early.claim->is_held());
  EXPECT_TRUE(late.claim->is_held());
}

TEST_F(ClaimsTest, SuspendedOwnersReleaseLeavesTheTakersClaimAlone) {
  Claims sleeper = board(silent);
  auto early = std::make_unique<ClaimAttempt>(sleeper.try_claim("a"));
  Claims taker = board();
  const ClaimAttempt late = settle(taker, "a");
  ASSERT_EQ(late.outcome, Outcome::acquired);
  early.reset();
  EXPECT_TRUE(late.claim->is_held());
  Claims third = board(patient);
  EXPECT_EQ(settle(third, "a").outcome, Outcome::alive);
}

TEST_F(ClaimsTest, ProcessKilledOnThisMachineIsTakenOverAtOnce) {
  const pid_t child = ::fork();
  if (child == 0) {
    Claims theirs(folder_.claims(), ClaimOwner::this_process(new_run(), "job"), quick);
    const ClaimAttempt attempt = theirs.try_claim("a");
    theirs.show_progress(ClaimProgress{.id = "a", .phase = "denoise"});
    ::kill(::getpid(), SIGKILL);
  }
  ASSERT_EQ(::waitpid(child, nullptr, 0), child);
  ASSERT_EQ(entries(), 2U);
  board();  // a start that looks at no item
  Claims mine = board(patient);
  const ClaimAttempt attempt = mine.try_claim("a");
  EXPECT_EQ(attempt.outcome, Outcome::acquired);
  ASSERT_EQ(attempt.claim->dead_tokens().size(), 1U);
  EXPECT_TRUE(attempt.claim->dead_owners().front().was_at_work) << "its progress named the item";
  const bool has_links = std::filesystem::hard_link_count(folder_.claims() / "a.claim.1") > 1;
  EXPECT_EQ(entries(), has_links ? 3U : 4U)
      << "own owner file, both claims; the dead owner's if claims are copies";
}

/// A release begins at the bottom, so a process that is killed in one leaves a chain without its lower links.
TEST_F(ClaimsTest, WhatACrashInTheMiddleOfAReleaseLeftIsTakenOver) {
  for (const std::vector<int>& left :
       {std::vector{4}, std::vector{5}, std::vector{3, 4}, std::vector{0, 5, 6},
        std::vector{0, 1, 6, 7, 8, 9, 10, 11}, std::vector{9}}) {
    const std::string id = fmt::format("item{}", fmt::join(left, "-"));
    const pid_t child = ::fork();
    if (child == 0) {
      Claims own = board();
      const ClaimAttempt attempt = own.try_claim(id);
      for (const int generation : left) {
        if (generation > 0) {
          std::filesystem::copy_file(folder_.claims() / (id + ".claim"),
                                     folder_.claims() / fmt::format("{}.claim.{}", id, generation));
        }
      }
      if (left.front() > 0) ::unlink((folder_.claims() / (id + ".claim")).c_str());
      ::_exit(attempt.claim ? 0 : 1);  // nothing is released
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_EQ(status, 0);
    Claims first = board(patient);
    Claims second = board(patient);
    const ClaimAttempt attempt = settle(first, id);
    ASSERT_EQ(attempt.outcome, Outcome::acquired) << id;
    EXPECT_TRUE(attempt.claim->is_held()) << id;
    EXPECT_EQ(settle(second, id).outcome, Outcome::alive) << id;
    EXPECT_TRUE(attempt.claim->is_held()) << id;
  }
}

TEST_F(ClaimsTest, ZombieIsDead) {
  const pid_t child = ::fork();
  if (child == 0) {
    Claims theirs(folder_.claims(), ClaimOwner::this_process("run", "job"), quick);
    const ClaimAttempt attempt = theirs.try_claim("a");
    ::kill(::getpid(), SIGKILL);
  }
  siginfo_t ended{};
  ASSERT_EQ(::waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOWAIT), 0);  // and stays a zombie
  {
    Claims mine = board(patient);
    EXPECT_EQ(mine.held_at_start(), std::vector<std::string>{"a"});
    EXPECT_EQ(mine.try_claim("a").outcome, Outcome::acquired);
  }
  EXPECT_EQ(entries(), 0U) << "its owner file and its claim are gone";
  EXPECT_EQ(::waitpid(child, nullptr, 0), child);
}

TEST_F(ClaimsTest, SilenceOfAnOwnerCountsForAllOfItsItems) {
  const std::string token(32, 'd');
  for (const char* id : {"a", "b"}) {
    std::ofstream(folder_.claims() / fmt::format("{}.claim", id))
        << "0000000000000007\n"
        << R"({"host":"far","pid":1,"job":"","run":"r","machine":"other","token":")" << token << "\"}\n";
  }
  Claims mine = board(silent);
  EXPECT_EQ(mine.try_claim("b").outcome, Outcome::undecided);
  EXPECT_EQ(settle(mine, "a").outcome, Outcome::acquired);
  EXPECT_EQ(mine.try_claim("b").outcome, Outcome::acquired) << "waited for a second time";
}

TEST_F(ClaimsTest, ItemsPassedByTakeNoMemory) {
  Claims first = board();
  Claims second = board(patient);
  const auto pass_by = [&](int begin, int end) {
    for (int i = begin; i < end; ++i) {
      const std::string id = fmt::format("item{}", i);
      const ClaimAttempt held = first.try_claim(id);
      EXPECT_NE(second.try_claim(id).outcome, Outcome::acquired);
    }
  };
  pass_by(0, 100);
  const std::size_t before = ::mallinfo2().uordblks;
  pass_by(100, 600);
  EXPECT_LT(::mallinfo2().uordblks, before + 10'000) << "bytes for 500 items";
}

TEST_F(ClaimsTest, ManyThreadsRaceForDeadClaimsAndOneWinsEach) {
  constexpr int items = 20;
  constexpr int threads = 8;
  for (int i = 0; i < items; ++i) std::ofstream(folder_.claims() / fmt::format("i{}.claim", i)) << "dead";
  std::array<std::atomic<int>, items> holders{};
  std::array<std::atomic<int>, items> wins{};
  std::atomic<bool> overlap = false;
  std::latch all_have_raced(threads);
  std::vector<std::jthread> racers;
  for (int t = 0; t < threads; ++t) {
    racers.emplace_back([&] {
      // A beat may take a while where a disk is busy: silence must be longer, or the living are taken for
      // dead.
      Claims mine = board({.heartbeat = milliseconds(20), .stale_after = milliseconds(2000)});
      // Seen once, the dead claims grow old together.
      for (int i = 0; i < items; ++i) EXPECT_FALSE(mine.try_claim(fmt::format("i{}", i)).claim);
      std::vector<Claim> held;  // to the end, so that an item won twice shows
      for (int i = 0; i < items; ++i) {
        ClaimAttempt attempt = settle(mine, fmt::format("i{}", i));
        if (!attempt.claim) continue;
        if (++holders.at(static_cast<std::size_t>(i)) > 1) overlap = true;
        ++wins.at(static_cast<std::size_t>(i));
        held.push_back(std::move(*attempt.claim));
      }
      all_have_raced.arrive_and_wait();
    });
  }
  racers.clear();
  EXPECT_FALSE(overlap);
  for (const auto& count : wins) EXPECT_EQ(count, 1);
}

}  // namespace
}  // namespace wan::store
