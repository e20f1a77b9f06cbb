// Exchanges of the real model's sizes through memory that is registered with the group. The GPUs' copy
// engines carry them out while kernels keep all multiprocessors busy.
#include <gtest/gtest.h>

#include <cstdio>
#include <numeric>
#include <vector>

#include "comm/mpi/mpi.h"
#include "comm/nccl/cuda_support.h"
#include "comm/nccl/nccl.h"
#include "core/clock.h"
#include "gpu/comm/gpu_job.h"
#include "gpu/comm/stress_kernels.h"

namespace wan::comm {
namespace {

void check(cudaError_t code, const char* what) { check_cuda(code, what, "in the window test"); }

// 480p of the 14B model: tokens, heads, values of a head; q, k and v in bf16.
constexpr std::size_t tokens = 32760;
constexpr std::size_t heads = 40;
constexpr std::size_t head_dim = 128;
constexpr std::size_t words_of_head = 3 * head_dim / 2;  // words of a token's head: two bf16 values in each
constexpr std::size_t block_words = 175'000'000;         // words of a transformer block's weights
constexpr int rounds = 20;

/// Words of a piece of device memory.
struct Words {
  std::uint32_t* data = nullptr;
  std::size_t count = 0;
  std::span<std::byte> bytes() const {
    return {reinterpret_cast<std::byte*>(data), count * sizeof(std::uint32_t)};
  }
};

class CommWindow : public testing::Test {
 protected:
  CommWindow() { std::iota(everyone_.begin(), everyone_.end(), 0); }

  void SetUp() override {
    if (ranks() == 1) GTEST_SKIP() << "a rank alone exchanges nothing";
  }

  std::size_t ranks() const { return everyone_.size(); }

  std::unique_ptr<Communicator> make_group(const char* name) {
    return make_nccl_group(*world_, everyone_, name,
                           {.compute_stream = compute_.get(),
                            .watchdog = test::gpu_job().watchdog(),
                            .timeout_s = 60,
                            .copy_engines = true});
  }

  static std::uint32_t seed_of(int round, std::size_t chunk, std::size_t from, std::size_t to) {
    return ((static_cast<std::uint32_t>(round) * 8 + static_cast<std::uint32_t>(chunk)) * 16 +
            static_cast<std::uint32_t>(from)) *
               16 +
           static_cast<std::uint32_t>(to) + 1;
  }

  void fill(const Words& words, std::uint32_t seed) const {
    check(test::fill_pattern(words.data, words.count, seed, compute_.get()), "fill_pattern");
  }
  void compare(const Words& words, std::uint32_t seed) const {
    check(test::count_mismatches(words.data, words.count, seed,
                                 static_cast<unsigned long long*>(mismatches_.data()), compute_.get()),
          "count_mismatches");
  }
  unsigned long long counted() const {
    check(cudaStreamSynchronize(compute_.get()), "cudaStreamSynchronize");
    unsigned long long count = 1;
    check(cudaMemcpy(&count, mismatches_.data(), sizeof count, cudaMemcpyDeviceToHost), "cudaMemcpy");
    return count;
  }
  /// Fills every multiprocessor.
  void keep_computing() const { check(test::keep_busy(4000, 400'000, compute_.get()), "keep_busy"); }

  MpiEnvironment environment_;
  std::unique_ptr<Communicator> world_ = make_mpi_world(environment_, {.timeout_s = 60});
  std::vector<int> everyone_ = std::vector<int>(static_cast<std::size_t>(world_->size()));
  CudaStream compute_;
  DeviceBuffer mismatches_ = [] {
    DeviceBuffer counter(sizeof(unsigned long long));
    check(cudaMemset(counter.data(), 0, counter.bytes()), "cudaMemset");
    check(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
    return counter;
  }();
};

/// A chunk of heads in transfer: [ranks, words of a block] in both directions.
struct Chunk {
  Words send;
  Words receive;
  std::size_t block_words = 0;
  Ticket ticket;

  static Words block(const Words& all, std::size_t rank, std::size_t words) {
    return {.data = all.data + rank * words, .count = words};
  }
};

TEST_F(CommWindow, ExchangesOfAllHeadsInChunksArriveWhole) {
  const auto group = make_group("ulysses");
  const auto own = static_cast<std::size_t>(group->rank());
  const std::size_t own_heads = heads / ranks();
  const std::vector<std::size_t> chunk_heads{1, own_heads - 2, 1};
  const std::size_t own_tokens = (tokens + ranks() - 1) / ranks();
  const std::size_t all_words = own_tokens * words_of_head * own_heads * ranks();
  const auto memory = group->allocate(2 * all_words * sizeof(std::uint32_t));
  ASSERT_NE(memory, nullptr) << "the GPUs cannot register memory with each other";
  std::vector<Chunk> chunks(chunk_heads.size());
  auto* next = reinterpret_cast<std::uint32_t*>(memory.get());
  for (std::size_t i = 0; i < chunks.size(); ++i) {
    chunks[i].block_words = own_tokens * words_of_head * chunk_heads[i];
    for (Words* words : {&chunks[i].send, &chunks[i].receive}) {
      *words = {.data = next, .count = chunks[i].block_words * ranks()};
      next += words->count;
    }
  }
  const Stopwatch clock;
  for (int round = 0; round < rounds; ++round) {
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      for (std::size_t to = 0; to < ranks(); ++to)
        fill(Chunk::block(chunks[i].send, to, chunks[i].block_words), seed_of(round, i, own, to));
      chunks[i].ticket = group->all_to_all(chunks[i].send.bytes(), chunks[i].receive.bytes());
    }
    keep_computing();
    for (std::size_t i = 0; i < chunks.size(); ++i) {
      chunks[i].ticket.wait();
      for (std::size_t from = 0; from < ranks(); ++from)
        compare(Chunk::block(chunks[i].receive, from, chunks[i].block_words), seed_of(round, i, from, own));
    }
  }
  EXPECT_EQ(counted(), 0u);
  if (own == 0) {
    std::printf("WINDOW %zu ranks, all_to_all of %.0f MB a rank and round: %.1f ms a round\n", ranks(),
                static_cast<double>(all_words) * 4e-6, clock.elapsed_s() * 1e3 / rounds);
  }
}

TEST_F(CommWindow, GathersOfABlocksWeightsArriveWhole) {
  const auto group = make_group("fsdp");
  const auto own = static_cast<std::size_t>(group->rank());
  const std::size_t part_words = block_words / ranks() / 256 * 256;
  const std::size_t all_words = part_words * ranks();
  const auto memory = group->allocate(2 * all_words * sizeof(std::uint32_t));
  ASSERT_NE(memory, nullptr) << "the GPUs cannot register memory with each other";
  auto* first = reinterpret_cast<std::uint32_t*>(memory.get());
  const Words buffers[2]{{.data = first, .count = all_words},
                         {.data = first + all_words, .count = all_words}};
  Ticket tickets[2];
  const auto part = [&](int round, std::size_t rank) {
    return Words{.data = buffers[round % 2].data + rank * part_words, .count = part_words};
  };
  const auto start = [&](int round) {
    fill(part(round, own), seed_of(round, 0, own, 0));
    tickets[round % 2] = group->all_gather(part(round, own).bytes(), buffers[round % 2].bytes());
  };
  start(0);
  for (int round = 0; round < rounds; ++round) {  // one is in transfer while the one before is used
    if (round + 1 < rounds) start(round + 1);
    keep_computing();
    tickets[round % 2].wait();
    for (std::size_t rank = 0; rank < ranks(); ++rank) compare(part(round, rank), seed_of(round, 0, rank, 0));
  }
  EXPECT_EQ(counted(), 0u);
}

TEST_F(CommWindow, MemoryCanBeTakenAndGivenBackAgainAndAgain) {
  const auto group = make_group("ulysses");
  constexpr std::size_t words = std::size_t{16} << 20;
  for (int round = 0; round < 5; ++round) {
    const auto memory = group->allocate(2 * words * ranks() * sizeof(std::uint32_t));
    ASSERT_NE(memory, nullptr);
    auto* first = reinterpret_cast<std::uint32_t*>(memory.get());
    const Words send{.data = first, .count = words * ranks()};
    const Words receive{.data = first + words * ranks(), .count = words * ranks()};
    const auto own = static_cast<std::size_t>(group->rank());
    for (std::size_t to = 0; to < ranks(); ++to)
      fill(Chunk::block(send, to, words), seed_of(round, 1, own, to));
    group->all_to_all(send.bytes(), receive.bytes()).wait();
    for (std::size_t from = 0; from < ranks(); ++from)
      compare(Chunk::block(receive, from, words), seed_of(round, 1, from, own));
  }
  EXPECT_EQ(counted(), 0u);
}

}  // namespace
}  // namespace wan::comm
