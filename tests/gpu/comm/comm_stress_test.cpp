#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <functional>

#include "comm/mpi/mpi.h"
#include "comm/nccl/cuda_support.h"
#include "comm/nccl/nccl.h"
#include "comm/rank_grid.h"
#include "core/clock.h"
#include "gpu/comm/gpu_job.h"
#include "gpu/comm/stress_kernels.h"

namespace wan::comm {
namespace {

using test::count_mismatches;
using test::fill_pattern;
using test::keep_busy;

constexpr int steps = 1000;
constexpr std::size_t gathered_words = std::size_t{1} << 20;   // by each rank: 4 MiB
constexpr std::size_t exchanged_words = std::size_t{1} << 19;  // with each rank and chunk: 2 MiB
constexpr std::size_t combined_words = (std::size_t{1} << 16) + 3;
constexpr std::size_t chunks = 2;
// Several times as many as a GPU runs at once, so that collectives find it full.
constexpr unsigned busy_blocks = 4000;
constexpr long long busy_cycles = 100'000;

void check(cudaError_t code, const char* what) { check_cuda(code, what, "in the stress test"); }

/// Words on the device.
class Words {
 public:
  explicit Words(std::size_t count) : buffer_(count * sizeof(std::uint32_t)) {}
  std::uint32_t* data() const { return static_cast<std::uint32_t*>(buffer_.data()); }
  std::span<std::byte> bytes() const { return {static_cast<std::byte*>(buffer_.data()), buffer_.bytes()}; }

 private:
  DeviceBuffer buffer_;
};

/// A different seed for every message: by purpose, step, sender and receiver.
std::uint32_t seed_of(std::uint32_t purpose, int step, int from, int to) {
  return ((purpose * steps + static_cast<std::uint32_t>(step)) * 64u + static_cast<std::uint32_t>(from)) *
             64u +
         static_cast<std::uint32_t>(to);
}

struct Group {
  std::vector<int> members;  ///< ranks of the world
  std::unique_ptr<Communicator> comm;

  std::size_t size() const { return members.size(); }
};

/// The groups of one rank, and the traffic of a denoising step over them.
class Stress {
 public:
  Stress(Communicator& world, const GridShape& shape)
      : rank_(world.rank()),
        fsdp_(make(world, group_members(shape, rank_), "fsdp")),
        ulysses_(make(world, ulysses_members(shape, rank_), "ulysses")),
        cfg_(make(world, cfg_members(shape, rank_), "cfg")) {
    check(cudaMemset(mismatches_.data(), 0, mismatches_.bytes()), "cudaMemset");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  }

  void run() {
    for (int step = 0; step < steps; ++step) {
      start_gather(step);
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) start_exchange(step, chunk);
      check(keep_busy(busy_blocks, busy_cycles, compute_.get()), "keep_busy");
      for (std::size_t chunk = 0; chunk < chunks; ++chunk) finish_exchange(step, chunk);
      combine(step);
      if (step > 0) finish_gather(step - 1);
    }
    finish_gather(steps - 1);
    check(cudaStreamSynchronize(compute_.get()), "cudaStreamSynchronize");
  }

  unsigned long long mismatches() const {
    unsigned long long count = 0;
    check(cudaMemcpy(&count, mismatches_.data(), sizeof count, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return count;
  }

  std::uint64_t sent_bytes() const {
    std::uint64_t sum = 0;
    for (const Group* group : {&fsdp_, &ulysses_, &cfg_}) sum += group->comm->traffic().total_sent_bytes();
    return sum;
  }

 private:
  enum Purpose : std::uint32_t { gather = 0, combination = 1, first_exchange = 2 };

  /// The buffers of one all_gather.
  struct Gather {
    explicit Gather(const Group& group, std::size_t words) : send(words), receive(words * group.size()) {}
    Words send;     ///< [words]
    Words receive;  ///< [ranks, words]
    Ticket ticket;
  };
  /// The buffers of one all_to_all.
  struct Exchange {
    explicit Exchange(const Group& group)
        : send(exchanged_words * group.size()), receive(exchanged_words * group.size()) {}
    Words send;     ///< [ranks, words]
    Words receive;  ///< [ranks, words]
    Ticket ticket;
  };

  Group make(Communicator& world, std::vector<int> members, const std::string& name) const {
    auto comm = make_nccl_group(
        world, members, name,
        {.compute_stream = compute_.get(), .watchdog = test::gpu_job().watchdog(), .timeout_s = 30});
    return {.members = std::move(members), .comm = std::move(comm)};
  }

  // The buffers alternate, because the gather of the step before is still in progress.
  void start_gather(int step) {
    Gather& buffers = gathers_[static_cast<std::size_t>(step) % 2];
    fill(buffers.send, 0, gathered_words, seed_of(gather, step, rank_, 0));
    buffers.ticket = fsdp_.comm->all_gather(buffers.send.bytes(), buffers.receive.bytes());
  }

  void finish_gather(int step) {
    Gather& buffers = gathers_[static_cast<std::size_t>(step) % 2];
    buffers.ticket.wait();
    for (std::size_t i = 0; i < fsdp_.size(); ++i)
      compare(buffers.receive, i, gathered_words, seed_of(gather, step, fsdp_.members[i], 0));
  }

  void start_exchange(int step, std::size_t chunk) {
    Exchange& buffers = exchanges_[chunk];
    const std::uint32_t purpose = first_exchange + static_cast<std::uint32_t>(chunk);
    for (std::size_t i = 0; i < ulysses_.size(); ++i)
      fill(buffers.send, i, exchanged_words, seed_of(purpose, step, rank_, ulysses_.members[i]));
    buffers.ticket = ulysses_.comm->all_to_all(buffers.send.bytes(), buffers.receive.bytes());
  }

  void finish_exchange(int step, std::size_t chunk) {
    Exchange& buffers = exchanges_[chunk];
    const std::uint32_t purpose = first_exchange + static_cast<std::uint32_t>(chunk);
    buffers.ticket.wait();
    for (std::size_t i = 0; i < ulysses_.size(); ++i)
      compare(buffers.receive, i, exchanged_words, seed_of(purpose, step, ulysses_.members[i], rank_));
  }

  void combine(int step) {
    fill(combined_.send, 0, combined_words, seed_of(combination, step, rank_, 0));
    cfg_.comm->all_gather(combined_.send.bytes(), combined_.receive.bytes()).wait();
    for (std::size_t i = 0; i < cfg_.size(); ++i)
      compare(combined_.receive, i, combined_words, seed_of(combination, step, cfg_.members[i], 0));
  }

  void fill(const Words& words, std::size_t part, std::size_t count, std::uint32_t seed) const {
    check(fill_pattern(words.data() + part * count, count, seed, compute_.get()), "fill_pattern");
  }
  void compare(const Words& words, std::size_t part, std::size_t count, std::uint32_t seed) const {
    check(count_mismatches(words.data() + part * count, count, seed,
                           static_cast<unsigned long long*>(mismatches_.data()), compute_.get()),
          "count_mismatches");
  }

  int rank_;
  CudaStream compute_;
  Group fsdp_;
  Group ulysses_;
  Group cfg_;
  std::array<Gather, 2> gathers_{Gather(fsdp_, gathered_words), Gather(fsdp_, gathered_words)};
  std::array<Exchange, chunks> exchanges_{Exchange(ulysses_), Exchange(ulysses_)};
  Gather combined_{cfg_, combined_words};
  DeviceBuffer mismatches_{sizeof(unsigned long long)};
};

TEST(CommStress, TheCheckItselfSeesAWrongWord) {
  constexpr std::size_t count = 1000;
  const CudaStream stream;
  const Words words(count);
  const DeviceBuffer counter(sizeof(unsigned long long));
  auto* mismatches = static_cast<unsigned long long*>(counter.data());
  check(cudaMemsetAsync(mismatches, 0, counter.bytes(), stream.get()), "cudaMemsetAsync");
  check(fill_pattern(words.data(), count, 5, stream.get()), "fill_pattern");
  check(cudaMemsetAsync(words.data() + 17, 0, sizeof(std::uint32_t), stream.get()), "cudaMemsetAsync");
  check(count_mismatches(words.data(), count, 5, mismatches, stream.get()), "count_mismatches");
  unsigned long long counted = 0;
  check(cudaMemcpyAsync(&counted, mismatches, sizeof counted, cudaMemcpyDeviceToHost, stream.get()),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(stream.get()), "cudaStreamSynchronize");
  EXPECT_EQ(counted, 1u);
}

TEST(CommStress, AThousandStepsWithThreeGroupsInFlightLeaveNoWrongWord) {
  const MpiEnvironment environment;
  const auto world = make_mpi_world(environment, {.timeout_s = 60});
  const int ranks = environment.size();
  const GridShape shape = ranks == 4   ? GridShape{.group_size = 4, .cfg = 2, .ulysses = 2}
                          : ranks == 2 ? GridShape{.group_size = 2, .cfg = 1, .ulysses = 2}
                                       : GridShape{};
  ASSERT_NO_THROW(check_shape(shape, ranks));
  Stress stress(*world, shape);
  const Stopwatch clock;
  stress.run();
  const double elapsed_s = clock.elapsed_s();
  EXPECT_EQ(stress.mismatches(), 0u);
  EXPECT_LT(elapsed_s, 60);
  if (environment.rank() == 0) {
    std::printf("%d steps on %d ranks: %.2f s, %.1f GB sent per rank\n", steps, ranks, elapsed_s,
                static_cast<double>(stress.sent_bytes()) * 1e-9);
  }
}

}  // namespace
}  // namespace wan::comm
