#include <gmock/gmock.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <cmath>
#include <limits>
#include <thread>

#include "comm/dry_run.h"
#include "mpi/comm_backends.h"
#include "wan/error.h"

namespace wan::comm {
namespace {

using test::Backend;
using test::pattern_bytes;

/// The requirements for every backend, tested on all ranks of the test's program.
class Conformance : public testing::TestWithParam<Backend> {
 protected:
  std::unique_ptr<Communicator> world_ = GetParam().world();
  int rank_ = world_->rank();
  int size_ = world_->size();
  std::size_t ranks_ = static_cast<std::size_t>(size_);
};

INSTANTIATE_TEST_SUITE_P(Backends, Conformance, testing::ValuesIn(test::backends()),
                         [](const auto& instance) { return instance.param.name; });

/// Every rank's pattern, one after the other.
std::vector<std::byte> gathered_pattern(unsigned seed, int ranks, std::size_t count) {
  std::vector<std::byte> all;
  for (int rank = 0; rank < ranks; ++rank) {
    const std::vector<std::byte> part = pattern_bytes(seed, rank, count);
    all.insert(all.end(), part.begin(), part.end());
  }
  return all;
}

/// Block p of the data that rank `from` sends in an all_to_all, for `to`. Each pair has its own pattern.
std::vector<std::byte> pair_pattern(unsigned seed, int from, int to, std::size_t count) {
  return pattern_bytes(seed + 1000u * static_cast<unsigned>(to + 1), from, count);
}

constexpr std::size_t sizes[] = {0, 1, 3, 7, 8, 1021, 70001};

TEST_P(Conformance, AllGather) {
  for (const std::size_t count : sizes) {
    const std::vector<std::byte> send = pattern_bytes(1, rank_, count);
    std::vector<std::byte> receive(count * ranks_);
    world_->all_gather(send, receive).wait();
    EXPECT_EQ(receive, gathered_pattern(1, size_, count)) << count << " bytes";
  }
}

TEST_P(Conformance, AllGatherInPlace) {
  for (const std::size_t count : sizes) {
    std::vector<std::byte> buffer(count * ranks_);
    const std::span<std::byte> own =
        std::span(buffer).subspan(static_cast<std::size_t>(rank_) * count, count);
    std::ranges::copy(pattern_bytes(2, rank_, count), own.begin());
    world_->all_gather(own, buffer).wait();
    EXPECT_EQ(buffer, gathered_pattern(2, size_, count)) << count << " bytes";
  }
}

TEST_P(Conformance, AllToAll) {
  for (const std::size_t block : sizes) {
    std::vector<std::byte> send;
    std::vector<std::byte> expected;
    for (int peer = 0; peer < size_; ++peer) {
      std::ranges::copy(pair_pattern(3, rank_, peer, block), std::back_inserter(send));
      std::ranges::copy(pair_pattern(3, peer, rank_, block), std::back_inserter(expected));
    }
    std::vector<std::byte> receive(send.size());
    world_->all_to_all(send, receive).wait();
    EXPECT_EQ(receive, expected) << "blocks of " << block << " bytes";
  }
}

TEST_P(Conformance, Broadcast) {
  for (int root = 0; root < size_; ++root) {
    for (const std::size_t count : sizes) {
      std::vector<std::byte> bytes = pattern_bytes(4, rank_, count);
      world_->broadcast(bytes, root).wait();
      EXPECT_EQ(bytes, pattern_bytes(4, root, count)) << count << " bytes from rank " << root;
    }
  }
}

// Magnitudes for which the order of summation changes the result. Every rank must use the same order.
TEST_P(Conformance, AllReduceOfFloatsIsTheSumInRankOrderToTheBit) {
  for (const std::size_t count : {0u, 1u, 5u, 1000u}) {
    const auto value = [](int rank, std::size_t i) {
      return std::ldexp(static_cast<float>(i % 13) - 6.1F, (rank * 7 + static_cast<int>(i)) % 23);
    };
    std::vector<float> sum(count);
    std::vector<float> largest(count);
    std::vector<float> expected_sum(count);
    std::vector<float> expected_largest(count);
    for (std::size_t i = 0; i < count; ++i) {
      sum[i] = largest[i] = value(rank_, i);
      expected_sum[i] = expected_largest[i] = value(0, i);
      for (int rank = 1; rank < size_; ++rank) {
        expected_sum[i] += value(rank, i);
        expected_largest[i] = std::max(expected_largest[i], value(rank, i));
      }
    }
    world_->all_reduce(std::span(sum), ReduceOp::sum).wait();
    world_->all_reduce(std::span(largest), ReduceOp::max).wait();
    for (std::size_t i = 0; i < count; ++i)
      EXPECT_EQ(std::bit_cast<std::uint32_t>(sum[i]), std::bit_cast<std::uint32_t>(expected_sum[i])) << i;
    EXPECT_EQ(largest, expected_largest);
  }
}

TEST_P(Conformance, AllReduceKeepsNaNWhicheverRankHasIt) {
  for (int bad = 0; bad < size_; ++bad) {
    std::vector<float> values{rank_ == bad ? std::numeric_limits<float>::quiet_NaN() : 1.0F, 2.0F};
    world_->all_reduce(std::span(values), ReduceOp::max).wait();
    EXPECT_TRUE(std::isnan(values[0])) << "NaN on rank " << bad;
    EXPECT_EQ(values[1], 2.0F);
  }
}

TEST_P(Conformance, AllReduceOfIntegers) {
  std::vector<std::int64_t> sum{rank_ + 1, -rank_, std::int64_t{1} << 40};
  world_->all_reduce(std::span(sum), ReduceOp::sum).wait();
  const std::int64_t triangle = std::int64_t{size_} * (size_ - 1) / 2;
  EXPECT_THAT(sum, testing::ElementsAre(triangle + size_, -triangle, (std::int64_t{1} << 40) * size_));
  std::vector<std::int64_t> largest{rank_, -rank_};
  world_->all_reduce(std::span(largest), ReduceOp::max).wait();
  EXPECT_THAT(largest, testing::ElementsAre(size_ - 1, 0));
}

// Halos: each rank sends a different size to its neighbours. The first and last rank have one neighbour.
TEST_P(Conformance, ExchangeWithNeighbours) {
  const auto bytes_of = [](int rank) { return static_cast<std::size_t>(rank) * 1000 + 17; };
  const std::vector<std::byte> own = pattern_bytes(5, rank_, bytes_of(rank_));
  std::vector<std::byte> from_above(rank_ > 0 ? bytes_of(rank_ - 1) : 0);
  std::vector<std::byte> from_below(rank_ + 1 < size_ ? bytes_of(rank_ + 1) : 0);
  std::vector<PeerTransfer> transfers;
  if (rank_ > 0) transfers.push_back({.peer = rank_ - 1, .send = own, .receive = from_above});
  if (rank_ + 1 < size_) transfers.push_back({.peer = rank_ + 1, .send = own, .receive = from_below});
  world_->exchange(transfers).wait();
  EXPECT_EQ(from_above, pattern_bytes(5, rank_ - 1, from_above.size()));
  EXPECT_EQ(from_below, pattern_bytes(5, rank_ + 1, from_below.size()));
}

// Rank 0 sends to all and receives from none. Several messages to one peer keep their order. A rank may name
// itself. The other side need not name an empty message.
TEST_P(Conformance, ExchangeOneSidedRepeatedSelfAndEmpty) {
  const std::vector<std::byte> first = pattern_bytes(6, 0, 11);
  const std::vector<std::byte> second = pattern_bytes(7, 0, 11);
  std::vector<std::byte> got_first(11);
  std::vector<std::byte> got_second(11);
  std::vector<PeerTransfer> transfers;
  if (rank_ == 0) {
    for (int peer = 1; peer < size_; ++peer) {
      transfers.push_back({.peer = peer, .send = first, .receive = {}});
      transfers.push_back({.peer = peer, .send = second, .receive = {}});
      transfers.push_back({.peer = peer, .send = {}, .receive = {}});
    }
    transfers.push_back({.peer = 0, .send = first, .receive = got_first});
    transfers.push_back({.peer = 0, .send = second, .receive = {}});
    transfers.push_back({.peer = 0, .send = {}, .receive = got_second});
  } else {
    transfers.push_back({.peer = 0, .send = {}, .receive = got_first});
    transfers.push_back({.peer = 0, .send = {}, .receive = got_second});
  }
  world_->exchange(transfers).wait();
  EXPECT_EQ(got_first, first);
  EXPECT_EQ(got_second, second);
  world_->exchange({}).wait();
}

TEST_P(Conformance, ManyInFlightWaitedInAnotherOrderOnEveryRank) {
  constexpr std::size_t calls = 60;
  std::vector<std::vector<std::byte>> sends(calls);
  std::vector<std::vector<std::byte>> receives(calls);
  std::vector<Ticket> tickets(calls);
  for (std::size_t i = 0; i < calls; ++i) {
    sends[i] = pattern_bytes(static_cast<unsigned>(i), rank_, i * 13);
    receives[i].resize(sends[i].size() * ranks_);
    tickets[i] = world_->all_gather(sends[i], receives[i]);
  }
  for (std::size_t i = 0; i < calls; ++i) {
    const std::size_t chosen = (i * 7 + static_cast<std::size_t>(rank_) * 11) % calls;
    tickets[chosen].wait();
    EXPECT_EQ(receives[chosen], gathered_pattern(static_cast<unsigned>(chosen), size_, chosen * 13));
  }
}

TEST_P(Conformance, SubGroupsWorkAtTheSameTime) {
  if (size_ != 4 || GetParam().name == "local") GTEST_SKIP() << "needs four ranks";
  // Rows {0,1} {2,3}, columns {0,2} {1,3}; the columns' ranks are reversed in the second group.
  const std::vector<int> row_members = rank_ < 2 ? std::vector{0, 1} : std::vector{2, 3};
  const std::vector<int> column_members = rank_ % 2 == 0 ? std::vector{0, 2} : std::vector{3, 1};
  const auto row = GetParam().group(row_members, "ulysses");
  const auto column = GetParam().group(column_members, "cfg");
  EXPECT_EQ(row->name(), "ulysses");
  EXPECT_EQ(row_members[static_cast<std::size_t>(row->rank())], rank_);
  EXPECT_EQ(column_members[static_cast<std::size_t>(column->rank())], rank_);

  constexpr std::size_t count = 50'000;
  const std::vector<std::byte> own = pattern_bytes(8, rank_, count);
  std::vector<std::byte> of_row(2 * count);
  std::vector<std::byte> of_column(2 * count);
  std::vector<std::byte> of_all(4 * count);
  for (int round = 0; round < 5; ++round) {
    Ticket row_ticket = row->all_gather(own, of_row);
    Ticket column_ticket = column->all_gather(own, of_column);
    Ticket world_ticket = world_->all_gather(own, of_all);
    column_ticket.wait();
    row_ticket.wait();
    world_ticket.wait();
    for (std::size_t i : {0u, 1u}) {
      EXPECT_TRUE(std::ranges::equal(std::span(of_row).subspan(i * count, count),
                                     pattern_bytes(8, row_members[i], count)));
      EXPECT_TRUE(std::ranges::equal(std::span(of_column).subspan(i * count, count),
                                     pattern_bytes(8, column_members[i], count)));
    }
    EXPECT_EQ(of_all, gathered_pattern(8, 4, count));
  }
}

/// Makes one call of each kind. Returns the bytes that this rank sends to others, by operation.
std::array<std::uint64_t, operation_count> call_everything(Communicator& group) {
  const auto ranks = static_cast<std::uint64_t>(group.size());
  const std::vector<std::byte> ten(10);
  std::vector<std::byte> tens(10 * ranks);
  std::vector<std::byte> other_tens(10 * ranks);
  std::vector<float> floats(3);
  std::vector<std::int64_t> integers(2);
  std::vector<std::byte> broadcast(33);
  std::vector<std::byte> halo(5);
  const int next = (group.rank() + 1) % group.size();
  const int previous = (group.rank() + group.size() - 1) % group.size();
  const std::vector<PeerTransfer> transfers{{.peer = next, .send = std::span(ten).first(5), .receive = {}},
                                            {.peer = previous, .send = {}, .receive = halo}};
  group.all_gather(ten, tens).wait();
  group.all_to_all(tens, other_tens).wait();
  group.all_reduce(std::span(floats), ReduceOp::sum).wait();
  group.all_reduce(std::span(integers), ReduceOp::max).wait();
  group.broadcast(broadcast, group.size() - 1).wait();
  group.exchange(transfers).wait();
  group.barrier().wait();
  const bool root = group.rank() == group.size() - 1;
  return {(ranks - 1) * 10,        (ranks - 1) * 10,
          (ranks - 1) * (12 + 16), root ? (ranks - 1) * 33 : 0,
          ranks > 1 ? 5u : 0u,     0};
}

TEST_P(Conformance, TrafficIsExactAndADryRunPredictsIt) {
  const auto expected = call_everything(*world_);
  EXPECT_EQ(world_->traffic().sent_bytes, expected);
  EXPECT_EQ(world_->traffic().calls, (std::array<std::uint64_t, operation_count>{1, 1, 2, 1, 1, 1}));
  std::uint64_t total = 0;
  for (const std::uint64_t bytes : expected) total += bytes;
  EXPECT_EQ(world_->traffic().total_sent_bytes(), total);

  const auto pretended = make_dry_run("world", rank_, size_);
  call_everything(*pretended);
  EXPECT_EQ(pretended->traffic().sent_bytes, world_->traffic().sent_bytes);
  EXPECT_EQ(pretended->traffic().calls, world_->traffic().calls);
}

// The last rank must arrive before the first one leaves, by the clock that the ranks of one host share.
TEST_P(Conformance, BarrierWaitsForEveryRank) {
  const auto now_ns = [] {
    return std::int64_t{std::chrono::duration_cast<std::chrono::nanoseconds>(
                            std::chrono::steady_clock::now().time_since_epoch())
                            .count()};
  };
  for (int late = 0; late < size_; ++late) {
    if (rank_ == late) std::this_thread::sleep_for(std::chrono::milliseconds(30));
    std::array<std::int64_t, 2> last_arrival_and_first_leave{now_ns(), 0};
    world_->barrier().wait();
    last_arrival_and_first_leave[1] = -now_ns();
    world_->all_reduce(std::span<std::int64_t>(last_arrival_and_first_leave), ReduceOp::max).wait();
    EXPECT_LE(last_arrival_and_first_leave[0], -last_arrival_and_first_leave[1]);
  }
}

TEST(DryRun, CopiesItsOwnPartAndLeavesTheRest) {
  const auto group = make_dry_run("ulysses", 2, 4);
  EXPECT_EQ(group->rank(), 2);
  EXPECT_EQ(group->size(), 4);
  const std::vector<std::byte> own = pattern_bytes(1, 2, 3);
  std::vector<std::byte> receive(12, std::byte{0x5A});
  group->all_gather(own, receive).wait();
  EXPECT_TRUE(std::ranges::equal(std::span(receive).subspan(6, 3), own));
  EXPECT_EQ(std::ranges::count(std::span(receive).first(6), std::byte{0x5A}), 6);
  EXPECT_EQ(std::ranges::count(std::span(receive).last(3), std::byte{0x5A}), 3);

  const std::vector<std::byte> send = pattern_bytes(2, 2, 12);
  group->all_to_all(send, receive).wait();
  EXPECT_TRUE(std::ranges::equal(std::span(receive).subspan(6, 3), std::span(send).subspan(6, 3)));
  EXPECT_EQ(group->traffic().total_sent_bytes(), 9u + 9u);
}

}  // namespace
}  // namespace wan::comm
