#include <gmock/gmock.h>

#include "comm/communicator.h"
#include "comm/deferred.h"
#include "comm/local.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

/// Counts waits and destructions.
struct Counters {
  int waits = 0;
  int destroyed = 0;
};

class CountingPending final : public Ticket::Pending {
 public:
  explicit CountingPending(Counters& counters) : counters_(counters) {}
  CountingPending(const CountingPending&) = delete;
  CountingPending& operator=(const CountingPending&) = delete;
  CountingPending(CountingPending&&) = delete;
  CountingPending& operator=(CountingPending&&) = delete;
  ~CountingPending() override { ++counters_.destroyed; }
  void wait() override { ++counters_.waits; }
  std::string describe() const override { return "all_gather number 7"; }

 private:
  Counters& counters_;
};

Ticket counting_ticket(Counters& counters) { return Ticket(std::make_unique<CountingPending>(counters)); }

TEST(Ticket, WaitsOnceHoweverOftenItIsMovedAndAsked) {
  Counters counters;
  Ticket first = counting_ticket(counters);
  Ticket second = std::move(first);
  Ticket third;
  third = std::move(second);
  third.wait();
  third.wait();
  EXPECT_EQ(counters.waits, 1);
  EXPECT_EQ(counters.destroyed, 1);
}

TEST(Ticket, IsLetGoWithoutWaitingWhileAnExceptionUnwinds) {
  Counters counters;
  try {
    [[maybe_unused]] const Ticket ticket = counting_ticket(counters);
    throw Error("something else went wrong");
  } catch (const Error&) {
    EXPECT_EQ(counters.waits, 0);
    EXPECT_EQ(counters.destroyed, 1);
  }
}

TEST(TicketDeathTest, ForgottenTicketEndsTheProgramAndIsNamed) {
  EXPECT_DEATH(
      {
        Counters counters;
        const Ticket ticket = counting_ticket(counters);
      },
      "all_gather number 7 was destroyed without wait");
}

TEST(TicketDeathTest, OverwrittenTicketEndsTheProgram) {
  EXPECT_DEATH(
      {
        Counters counters;
        Ticket ticket = counting_ticket(counters);
        ticket = Ticket();
      },
      "destroyed without wait");
}

TEST(Deferred, GroupIsUnusableAfterATicketWasLetGo) {
  const auto group = make_deferred(make_local("cfg"));
  try {
    [[maybe_unused]] const Ticket ticket = group->barrier();
    throw Error("something else went wrong");
  } catch (const Error&) {
    EXPECT_THROW(group->barrier(), Error);
  }
}

TEST(Communicator, RefusesWrongArgumentsByName) {
  const auto group = make_local("ulysses");
  std::vector<std::byte> four(4);
  std::vector<std::byte> five(5);
  try {
    group->all_gather(four, five).wait();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("all_gather in group 'ulysses', rank 0 of 1"));
  }
  EXPECT_THROW(group->all_to_all(four, five), Error);
  EXPECT_THROW(group->all_to_all(four, four), Error);
  EXPECT_THROW(group->broadcast(four, 1), Error);
  const std::vector<PeerTransfer> nobody{{.peer = 1, .send = four, .receive = five}};
  EXPECT_THROW(group->exchange(nobody), Error);
  const std::vector<PeerTransfer> uneven{{.peer = 0, .send = four, .receive = five}};
  EXPECT_THROW(group->exchange(uneven), Error);
  EXPECT_THROW(group->all_gather(std::span(four).first(2), std::span(four).subspan(1, 2)), Error);
  EXPECT_EQ(group->traffic().calls, (Traffic{}.calls)) << "refused calls do not count";
}

}  // namespace
}  // namespace wan::comm
