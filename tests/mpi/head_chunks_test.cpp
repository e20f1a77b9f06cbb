// Self-attention over the ranks of this program. The division of the heads into exchanges must not change the
// result.
#include <ATen/ATen.h>
#include <fmt/ranges.h>
#include <gtest/gtest.h>

#include <memory>
#include <numeric>
#include <set>
#include <vector>

#include "checkpoint/model_config.h"
#include "comm/deferred.h"
#include "comm/local.h"
#include "comm/mpi/mpi.h"
#include "dit/block.h"
#include "parallel/ulysses.h"
#include "parallel/unit_weights.h"
#include "wan/error.h"

namespace wan::parallel {
namespace {

using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t own_heads = 6;
constexpr std::int64_t head_dim = 24;

/// A block, and the sequence that it attends to; equal on all ranks. The ranks with the most heads have
/// own_heads, and `missing` ranks have one less.
struct SplitBlock {
  explicit SplitBlock(int missing = 0)
      : world(comm::make_mpi_world(mpi, {.timeout_s = 60})),
        heads(own_heads * mpi.size() - missing),
        weights(std::make_shared<WeightShards>(
            checkpoint::transformer_units({.model_type = "t2v",
                                           .dim = heads * head_dim,
                                           .ffn_dim = 8,
                                           .freq_dim = 8,
                                           .in_dim = 16,
                                           .out_dim = 16,
                                           .text_dim = 8,
                                           .text_len = 8,
                                           .num_heads = heads,
                                           .num_layers = 1,
                                           .eps = 1e-6}),
            [](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
              const std::int64_t from = parameter.offset + first;
              out.copy_(at::arange(from, from + out.numel(), at::kDouble).mul(0.7).sin() / 5);
            },
            1, 0, kernels::Compute())),
        input(at::arange(grid.tokens() * heads * head_dim, at::kDouble)
                  .mul(1.3)
                  .cos()
                  .to(at::kFloat)
                  .view({grid.tokens(), -1})) {}

  /// Self-attention's result for the tokens of `group`'s rank: [local_tokens, dim], padding included.
  at::Tensor attend(comm::Communicator& group, const Sizes& chunk_heads) {
    UlyssesExchange exchange(group, grid.tokens(), heads, head_dim, kernels::Compute(), chunk_heads);
    const dit::SequenceShape& shape = exchange.shape();
    const at::Tensor padded =
        at::constant_pad_nd(input, {0, 0, 0, shape.padded_tokens() - grid.tokens()});  // [padded_tokens, dim]
    const kernels::RotaryTable rotary =
        kernels::make_rotary_table(grid, head_dim, shape.first_token(), shape.local_tokens);
    const dit::BlockWeights block_weights(weights.weights(1));
    PartClock clock;
    const dit::Block block{.weights = block_weights,
                           .heads = heads,
                           .eps = 1e-6,
                           .attention = kernels::AttentionBackend::automatic,
                           .clock = clock};
    return block.self_attention(padded.narrow(0, shape.first_token(), shape.local_tokens), rotary, exchange);
  }

  comm::MpiEnvironment mpi;
  std::unique_ptr<comm::Communicator> world;
  std::int64_t heads;
  ResidentWeights weights;
  kernels::TokenGrid grid{.frames = 1, .rows = 5, .columns = 7};  // 35 tokens: the last of 2, 3, 4 ranks pads
  at::Tensor input;                                               ///< [tokens, dim]
};

std::vector<int> all_ranks(int count) {
  std::vector<int> ranks(static_cast<std::size_t>(count));
  std::iota(ranks.begin(), ranks.end(), 0);
  return ranks;
}

TEST(HeadChunks, OfAnySizeGiveTheBitsOfOneRank) {
  SplitBlock block;
  if (block.mpi.size() > 4) GTEST_SKIP() << "up to 4 ranks show it";
  const auto alone = comm::make_local("alone");
  const at::Tensor whole = block.attend(*alone, {});  // [tokens, dim]
  const std::unique_ptr<comm::Communicator> group = comm::make_deferred(
      comm::make_mpi_group(*block.world, all_ranks(block.mpi.size()), "ulysses", {.timeout_s = 60}));
  const at::Tensor expected = block.attend(*group, {});  // [local_tokens, dim]
  const std::int64_t first = group->rank() * expected.size(0);
  const std::int64_t own = std::min(expected.size(0), whole.size(0) - first);  // without padding
  EXPECT_TRUE(at::equal(expected.narrow(0, 0, own), whole.narrow(0, first, own)));
  const std::int64_t alone_heads = block.heads;  // one rank alone has all heads
  for (const Sizes& chunks : {Sizes{1, 5}, {5, 1}, {1, 4, 1}, {3, 3}, {2, 1, 3}, {1, 1, 1, 1, 1, 1}}) {
    SCOPED_TRACE(fmt::format("chunks of {} heads", fmt::join(chunks, " + ")));
    EXPECT_TRUE(at::equal(block.attend(*group, chunks), expected));
    Sizes alone_chunks = chunks;
    alone_chunks.back() += alone_heads - own_heads;
    EXPECT_TRUE(at::equal(block.attend(*alone, alone_chunks), whole));
  }
}

/// Ranks with a head less give the same bits, and send the bytes of all places.
TEST(HeadChunks, OfRanksWithAHeadLessGiveTheBitsOfOneRank) {
  const int ranks = comm::MpiEnvironment().size();
  if (ranks == 1) GTEST_SKIP() << "one rank has all heads";
  for (const int missing : std::set<int>{1, ranks - 1}) {
    SplitBlock block(missing);
    const auto alone = comm::make_local("alone");
    const at::Tensor whole = block.attend(*alone, {});  // [tokens, dim]
    const auto world = comm::make_deferred(
        comm::make_mpi_group(*block.world, all_ranks(ranks), "ulysses", {.timeout_s = 60}));
    const at::Tensor expected = block.attend(*world, {});  // [local_tokens, dim]
    const std::int64_t first = std::min(world->rank() * expected.size(0), whole.size(0));
    const std::int64_t own = std::min(expected.size(0), whole.size(0) - first);  // without padding
    EXPECT_TRUE(at::equal(expected.narrow(0, 0, own), whole.narrow(0, first, own)));
    for (const Sizes& chunks : {Sizes{1, 4, 1}, {3, 3}, {1, 1, 2, 1, 1}}) {
      SCOPED_TRACE(fmt::format("{} heads in chunks of {}", block.heads, fmt::join(chunks, " + ")));
      const std::uint64_t before = world->traffic().total_sent_bytes();
      EXPECT_TRUE(at::equal(block.attend(*world, chunks), expected));
      const std::int64_t block_bytes =
          4 * expected.size(0) * own_heads * head_dim * 4;  // q, k, v and results
      EXPECT_EQ(world->traffic().total_sent_bytes() - before,
                static_cast<std::uint64_t>((ranks - 1) * block_bytes));
    }
    EXPECT_THROW(block.attend(*world, {1, 1, 1, 1, 1, 1}), Error) << "a chunk would be empty on some ranks";
  }
}

TEST(HeadChunks, MustAddUpToTheHeadsOfARank) {
  SplitBlock block;
  for (const Sizes& chunks : {Sizes{1, 4}, {5, 2}, {7, -1}, {6, 0}})
    EXPECT_THROW(block.attend(*block.world, chunks), Error) << fmt::format("{}", fmt::join(chunks, " + "));
}

}  // namespace
}  // namespace wan::parallel
