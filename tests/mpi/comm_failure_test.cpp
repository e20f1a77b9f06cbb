#include <fmt/format.h>
#include <gmock/gmock.h>
#include <mpi.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <string_view>

#include "comm/deferred.h"
#include "comm/local.h"
#include "mpi/comm_backends.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

using test::pattern_bytes;
using testing::AllOf;
using testing::HasSubstr;

template <typename Call>
std::string message_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

/// The seconds in "... timed out after 2.0 s ..."; 0 if the message does not tell any.
double told_seconds(const std::string& message) {
  constexpr std::string_view words = "timed out after ";
  const std::size_t place = message.find(words);
  return place == std::string::npos ? 0 : std::strtod(message.c_str() + place + words.size(), nullptr);
}

/// A rank that arrives too late. The missing rank makes the call after the others have given up, while they
/// progress MPI in a plain barrier. Buffers live to the end of the test, so the test ends in order.
class LateRank : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (environment_.size() < 2) GTEST_SKIP() << "needs another rank to wait for";
    world_ = make_mpi_world(environment_, {.timeout_s = 2});
    if (GetParam()) world_ = make_deferred(std::move(world_));
  }

  /// Makes the call too late on the last rank, and checks the messages on the others.
  template <typename Call>
  void expect_time_out(Call&& call, const std::string& operation, const std::string& detail) {
    const double start_s = MPI_Wtime();
    int heard_from_all = 0;
    if (rank_ != late_) {
      const std::string message = message_of(call);
      EXPECT_THAT(message, AllOf(HasSubstr(operation + " number 0"), HasSubstr("limit 2 s"),
                                 HasSubstr("raise the collective timeout")));
      EXPECT_THAT(message, HasSubstr(fmt::format("on rank {} of {} in group 'world' (world rank {})", rank_,
                                                 environment_.size(), rank_)));
      EXPECT_THAT(message, HasSubstr(fmt::format("rank {0} (world rank {0}) is silent", late_)));
      heard_from_all = 1;
      for (int peer = 0; peer < late_; ++peer) {
        const std::string report =
            fmt::format("rank {0} (world rank {0}) gave up in {1} number 0", peer, operation);
        if (peer != rank_ && message.find(report) == std::string::npos) heard_from_all = 0;
      }
      EXPECT_THAT(message, HasSubstr(detail));
      EXPECT_GE(told_seconds(message), 2);
      EXPECT_LE(told_seconds(message), MPI_Wtime() - start_s + 0.1) << "by rounding";
      EXPECT_LT(MPI_Wtime() - start_s, test::patience_s);
      EXPECT_THAT(message_of([&] { world_->barrier().wait(); }), HasSubstr("can no longer be used"));
    }
    // The rank that gave up last has the reports of all earlier ones, however unevenly the machine runs them.
    MPI_Allreduce(MPI_IN_PLACE, &heard_from_all, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD);
    EXPECT_EQ(heard_from_all, 1);
    if (rank_ == late_) {
      EXPECT_EQ(message_of(call), "no error");
    }
    MPI_Barrier(MPI_COMM_WORLD);
  }

  MpiEnvironment environment_;
  int rank_ = environment_.rank();
  int late_ = environment_.size() - 1;
  std::unique_ptr<Communicator> world_;
};

INSTANTIATE_TEST_SUITE_P(Backends, LateRank, testing::Bool(),
                         [](const auto& instance) { return instance.param ? "deferred" : "mpi"; });

TEST_P(LateRank, IsNamedByACollective) {
  const std::vector<std::byte> send = pattern_bytes(1, rank_, 100);
  std::vector<std::byte> receive(100 * static_cast<std::size_t>(environment_.size()));
  expect_time_out([&] { world_->all_gather(send, receive).wait(); }, "all_gather",
                  fmt::format("({} bytes)", receive.size()));
}

TEST_P(LateRank, IsNamedByAnExchangeWithTheMessageThatIsMissing) {
  const std::vector<std::byte> send = pattern_bytes(1, rank_, 16);
  std::vector<std::byte> receive(16);
  const auto exchange = [&] {
    std::vector<PeerTransfer> transfers;
    if (rank_ != late_) transfers.push_back({.peer = late_, .send = {}, .receive = receive});
    for (int peer = 0; rank_ == late_ && peer < late_; ++peer)
      transfers.push_back({.peer = peer, .send = send, .receive = {}});
    world_->exchange(transfers).wait();
  };
  expect_time_out(exchange, "exchange", fmt::format("Not finished: 16 bytes from rank {}.", late_));
}

TEST_P(LateRank, DoesNotHangTheMakingOfAGroup) {
  if (GetParam()) GTEST_SKIP() << "groups are made from MPI communicators";
  const std::vector<int> alone{rank_};
  std::unique_ptr<Communicator> group;
  if (rank_ != late_) {
    EXPECT_THAT(message_of([&] { make_mpi_group(*world_, alone, "cfg"); }),
                AllOf(HasSubstr("barrier number 0"), HasSubstr("timed out"), HasSubstr("is silent")));
  }
  MPI_Barrier(MPI_COMM_WORLD);
  // The late rank joins the barrier that the others have left.
  if (rank_ == late_) world_->barrier().wait();
  MPI_Barrier(MPI_COMM_WORLD);
}

TEST(Exchange, DifferentSizesAreAnErrorThatNamesThem) {
  const MpiEnvironment environment;
  if (environment.size() < 2) GTEST_SKIP() << "needs two ranks";
  for (const std::size_t sent : {4u, 12u}) {
    const auto world = make_mpi_world(environment, {.timeout_s = test::patience_s});
    const std::vector<std::byte> send(sent);
    std::vector<std::byte> receive(8);
    std::vector<PeerTransfer> transfers;
    if (environment.rank() == 0) transfers.push_back({.peer = 1, .send = {}, .receive = receive});
    if (environment.rank() == 1) transfers.push_back({.peer = 0, .send = send, .receive = {}});
    const std::string message = message_of([&] { world->exchange(transfers).wait(); });
    const auto expected = environment.rank() != 0 ? HasSubstr("no error")
                          : sent == 4             ? HasSubstr("rank 1 sent 4 bytes where 8 were expected")
                                                  : HasSubstr("at the message of 8 bytes from rank 1");
    EXPECT_THAT(message, expected);
    MPI_Barrier(MPI_COMM_WORLD);
  }
}

TEST(MpiGroup, RefusesMembersThatCannotBe) {
  const MpiEnvironment environment;
  const auto world = make_mpi_world(environment, {.timeout_s = test::patience_s});
  const int rank = environment.rank();
  EXPECT_THAT(message_of([&] {
                make_mpi_group(*world, std::vector{rank, rank}, "cfg");
              }),
              HasSubstr("names a rank twice"));
  EXPECT_THAT(message_of([&] { make_mpi_group(*world, std::vector<int>{}, "cfg"); }),
              HasSubstr("does not contain its caller"));
  EXPECT_THAT(message_of([&] {
                make_mpi_group(*world, std::vector{rank, environment.size()}, "cfg");
              }),
              HasSubstr("does not lie within"));
  const auto local = make_local("world");
  EXPECT_THAT(message_of([&] { make_mpi_group(*local, std::vector{0}, "cfg"); }),
              HasSubstr("not an MPI communicator"));
}

TEST(MpiGroup, NoticesRanksThatDisagreeAboutTheMembers) {
  const MpiEnvironment environment;
  if (environment.size() < 2) GTEST_SKIP() << "needs two ranks";
  const auto world = make_mpi_world(environment, {.timeout_s = test::patience_s});
  const int rank = environment.rank();
  // Rank 0 expects rank 1 in its group, but rank 1 makes a group of its own.
  const std::vector<int> members = rank == 0 ? std::vector{0, 1} : std::vector{rank};
  const std::string message = message_of([&] { make_mpi_group(*world, members, "cfg"); });
  EXPECT_THAT(message, HasSubstr(rank == 0 ? "disagree about the members: this rank names world ranks 0, 1, "
                                             "all ranks together name 0"
                                           : "no error"));
}

TEST(MpiEnvironment, KnowsItsPlace) {
  const MpiEnvironment environment;
  int size = 0;
  MPI_Comm_size(MPI_COMM_WORLD, &size);
  EXPECT_EQ(environment.size(), size);
  EXPECT_FALSE(environment.host_name().empty());
  EXPECT_LT(environment.local_rank(), environment.local_size());
  EXPECT_LE(environment.local_size(), environment.size());
}

class DeferredCalls : public testing::Test {
 protected:
  std::unique_ptr<Communicator> world_ =
      make_deferred(make_mpi_world(MpiEnvironment(), {.timeout_s = test::patience_s}));
  std::size_t ranks_ = static_cast<std::size_t>(world_->size());
};

TEST_F(DeferredCalls, ReceiveBuffersAreNaNUntilTheWait) {
  const std::vector<float> own(5, 1.5F);
  std::vector<float> all(5 * ranks_, 0.0F);
  Ticket ticket = world_->all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)));
  EXPECT_TRUE(std::ranges::all_of(all, [](float value) { return std::isnan(value); }));
  ticket.wait();
  EXPECT_TRUE(std::ranges::all_of(all, [](float value) { return value == 1.5F; }));
}

TEST_F(DeferredCalls, SendBufferReusedTooSoonSendsTheNewContent) {
  std::vector<float> own(5, 1.5F);
  std::vector<float> all(5 * ranks_, 0.0F);
  Ticket ticket = world_->all_gather(std::as_bytes(std::span(own)), std::as_writable_bytes(std::span(all)));
  std::ranges::fill(own, -7.0F);
  ticket.wait();
  EXPECT_TRUE(std::ranges::all_of(all, [](float value) { return value == -7.0F; }));
}

TEST_F(DeferredCalls, OwnSliceOfAnInPlaceGatherStaysReadable) {
  std::vector<float> all(5 * ranks_, 0.0F);
  const auto own = std::span(all).subspan(static_cast<std::size_t>(world_->rank()) * 5, 5);
  std::ranges::fill(own, 2.5F);
  Ticket ticket = world_->all_gather(std::as_bytes(own), std::as_writable_bytes(std::span(all)));
  EXPECT_EQ(std::ranges::count(all, 2.5F), 5);
  EXPECT_EQ(std::ranges::count_if(all, [](float value) { return std::isnan(value); }),
            static_cast<std::ptrdiff_t>(5 * (ranks_ - 1)));
  ticket.wait();
  EXPECT_EQ(std::ranges::count(all, 2.5F), static_cast<std::ptrdiff_t>(all.size()));
}

TEST_F(DeferredCalls, ReducedValuesAreSetAsideAndOverwritingThemShows) {
  std::vector<float> values{1.0F, 1.0F};
  Ticket ticket = world_->all_reduce(std::span(values), ReduceOp::sum);
  EXPECT_TRUE(std::isnan(values[0]) && std::isnan(values[1]));
  values[1] = 10.0F;
  ticket.wait();
  EXPECT_EQ(values[0], static_cast<float>(ranks_));
  EXPECT_EQ(values[1], static_cast<float>(10 * ranks_));
}

TEST_F(DeferredCalls, BroadcastAndExchangeSpoilWhatTheyReceiveInto) {
  std::vector<float> value{3.0F};
  std::vector<float> halo{0.0F};
  Ticket broadcast = world_->broadcast(std::as_writable_bytes(std::span(value)), 0);
  EXPECT_EQ(std::isnan(value[0]), world_->rank() != 0);
  const std::vector<PeerTransfer> self{{.peer = world_->rank(),
                                        .send = std::as_bytes(std::span(value)),
                                        .receive = std::as_writable_bytes(std::span(halo))}};
  Ticket exchange = world_->exchange(self);
  EXPECT_TRUE(std::isnan(halo[0]));
  exchange.wait();
  broadcast.wait();
  EXPECT_EQ(halo[0], 3.0F);
}

}  // namespace
}  // namespace wan::comm
