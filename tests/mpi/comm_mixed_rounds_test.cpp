#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <random>

#include "mpi/comm_backends.h"

namespace wan::comm {
namespace {

using test::Backend;
using test::pattern;
using test::pattern_bytes;

class MixedRounds : public testing::TestWithParam<Backend> {};

INSTANTIATE_TEST_SUITE_P(Backends, MixedRounds, testing::ValuesIn(test::backends()),
                         [](const auto& instance) { return instance.param.name; });

/// A call in progress with its buffers, and the number of wrong bytes after it.
struct Round {
  std::vector<std::byte> send;
  std::vector<std::byte> receive;
  std::vector<std::int64_t> integers;
  std::function<std::byte(std::size_t)> expected;  ///< byte i of `receive`
  std::int64_t expected_integer = 0;
  Ticket ticket;

  std::size_t wrong_bytes() {
    ticket.wait();
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < receive.size(); ++i) wrong += receive[i] != expected(i) ? 1 : 0;
    for (const std::int64_t value : integers) wrong += value != expected_integer ? sizeof value : 0;
    return wrong;
  }
};

/// Issues one call; `kind` and `count` are the same on every rank.
void start(Communicator& group, Round& round, unsigned seed, Operation kind, std::size_t count) {
  const int rank = group.rank();
  const int size = group.size();
  const auto ranks = static_cast<std::size_t>(size);
  const int other = static_cast<int>(seed % ranks);
  const int next = (rank + 1 + other) % size;
  const int previous = (rank + 2 * size - 1 - other) % size;
  switch (kind) {
    case Operation::all_gather:
      round.send = pattern_bytes(seed, rank, count);
      round.receive.resize(count * ranks);
      round.expected = [=](std::size_t i) { return pattern(seed, static_cast<int>(i / count), i % count); };
      round.ticket = group.all_gather(round.send, round.receive);
      return;
    case Operation::all_to_all:
      round.send = pattern_bytes(seed, rank, count * ranks);
      round.receive.resize(count * ranks);
      round.expected = [=](std::size_t i) {
        return pattern(seed, static_cast<int>(i / count), static_cast<std::size_t>(rank) * count + i % count);
      };
      round.ticket = group.all_to_all(round.send, round.receive);
      return;
    case Operation::all_reduce:
      round.integers.assign(count, std::int64_t{rank} + seed);
      round.expected_integer = std::int64_t{size} * (size - 1) / 2 + std::int64_t{seed} * size;
      round.ticket = group.all_reduce(std::span(round.integers), ReduceOp::sum);
      return;
    case Operation::broadcast:
      round.receive = pattern_bytes(seed, rank, count);
      round.expected = [=](std::size_t i) { return pattern(seed, other, i); };
      round.ticket = group.broadcast(round.receive, other);
      return;
    case Operation::exchange: {
      round.send = pattern_bytes(seed, rank, count);
      round.receive.resize(count);
      round.expected = [=](std::size_t i) { return pattern(seed, previous, i); };
      const std::vector<PeerTransfer> transfers{{.peer = next, .send = round.send, .receive = {}},
                                                {.peer = previous, .send = {}, .receive = round.receive}};
      round.ticket = group.exchange(transfers);
      return;
    }
    case Operation::barrier:
      round.ticket = group.barrier();
      return;
  }
}

TEST_P(MixedRounds, AThousandCallsLeaveNoWrongByte) {
  const auto group = GetParam().world();
  std::mt19937 shared(20240817);  // draws the same calls on every rank
  std::mt19937 own(static_cast<unsigned>(group->rank()) + 1);
  constexpr int rounds = 1000;
  constexpr std::size_t in_flight = 8;
  std::deque<Round> under_way;
  std::size_t wrong = 0;
  const auto finish_all = [&] {
    // Each rank waits in its own order.
    std::ranges::shuffle(under_way, own);
    for (Round& round : under_way) wrong += round.wrong_bytes();
    under_way.clear();
  };
  for (int i = 0; i < rounds; ++i) {
    const auto kind = static_cast<Operation>(shared() % operation_count);
    const std::size_t count = shared() % 4 == 0 ? shared() % 5 : shared() % 6000;
    start(*group, under_way.emplace_back(), shared() % 100'000, kind, count);
    if (under_way.size() == in_flight) finish_all();
  }
  finish_all();
  EXPECT_EQ(wrong, 0u);
  std::uint64_t calls = 0;
  for (const std::uint64_t n : group->traffic().calls) calls += n;
  EXPECT_EQ(calls, static_cast<std::uint64_t>(rounds));
}

}  // namespace
}  // namespace wan::comm
