#include "parallel/head_chunks.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "wan/error.h"

namespace wan::parallel {
namespace {

using Sizes = std::vector<std::int64_t>;

constexpr std::int64_t tokens_480p = 32'760;
constexpr std::int64_t tokens_720p = 75'600;

/// Rounds of 128 queries on each of 132 multiprocessors.
std::int64_t waves(const Sizes& chunks, std::int64_t tokens) {
  const std::int64_t tiles = (tokens + 127) / 128;
  std::int64_t count = 0;
  for (const std::int64_t heads : chunks) count += (heads * tiles + 131) / 132;
  return count;
}

Sizes chosen(std::int64_t heads, int ulysses, std::int64_t tokens) {
  return choose_head_chunks({.heads = heads, .parts = ulysses}, tokens);
}

TEST(ChooseHeadChunks, LeavesLittleExposedAndWastesNoWave) {
  EXPECT_EQ(chosen(40, 2, tokens_480p), (Sizes{1, 18, 1}));
  EXPECT_EQ(chosen(40, 4, tokens_480p), (Sizes{1, 8, 1}));
  EXPECT_EQ(chosen(40, 8, tokens_480p), (Sizes{1, 3, 1}));
  EXPECT_EQ(chosen(40, 2, tokens_720p), (Sizes{2, 16, 2}));
  for (const std::int64_t tokens : {tokens_480p, tokens_720p}) {
    for (const int ulysses : {2, 3, 4, 5, 6, 7, 8, 10}) {
      const std::int64_t own_heads = (40 + ulysses - 1) / ulysses;  // of the ranks with the most
      const Sizes chunks = chosen(40, ulysses, tokens);
      EXPECT_GT(chunks.size(), 1U) << ulysses << " ranks, " << tokens << " tokens";
      EXPECT_EQ(std::accumulate(chunks.begin(), chunks.end(), std::int64_t{0}), own_heads);
      EXPECT_EQ(waves(chunks, tokens), waves({own_heads}, tokens)) << ulysses << " ranks, " << tokens;
    }
  }
  EXPECT_EQ(waves({10, 10}, tokens_480p), 40);  // one more than all at once
}

TEST(ChooseHeadChunks, DividesNothingThatIsNotWorthIt) {
  EXPECT_EQ(chosen(40, 1, tokens_480p), (Sizes{40}));  // nothing travels
  EXPECT_EQ(chosen(40, 40, tokens_480p), (Sizes{1}));
  EXPECT_EQ(chosen(40, 2, 200), (Sizes{20}));  // all at once is one wave
}

TEST(DivideHeads, DoesAsWished) {
  EXPECT_EQ(divide_heads({}, 40, 2, tokens_480p), chosen(40, 2, tokens_480p));
  EXPECT_EQ(divide_heads({.count = 4}, 40, 2, tokens_480p), (Sizes{5, 5, 5, 5}));
  EXPECT_EQ(divide_heads({.count = 1}, 40, 2, tokens_480p), (Sizes{20}));
  EXPECT_EQ(divide_heads({.sizes = {3, 17}}, 40, 2, tokens_480p), (Sizes{3, 17}));
  EXPECT_EQ(divide_heads({.count = 4}, 40, 1, tokens_480p), (Sizes{40}));  // nothing travels
  EXPECT_EQ(divide_heads({.sizes = {3, 17}}, 40, 1, tokens_480p), (Sizes{40}));
  EXPECT_THROW(divide_heads({}, 40, 41, tokens_480p), Error);
}

TEST(DivideHeads, LeavesEachRankAHeadInEachChunk) {
  EXPECT_EQ(divide_heads({}, 40, 3, tokens_480p), (Sizes{1, 12, 1}));  // 1 + 11 + 1 on two of the ranks
  EXPECT_EQ(divide_heads({.count = 2}, 40, 3, tokens_480p), (Sizes{7, 7}));
  EXPECT_EQ(divide_heads({.sizes = {4, 10}}, 40, 3, tokens_480p), (Sizes{4, 10}));
  for (int ulysses = 2; ulysses <= 40; ++ulysses) {
    for (const HeadChunkWish& wish : {HeadChunkWish(), {.count = 2}, {.count = 3}, {.sizes = {1, 1}}}) {
      const Sizes chunks = divide_heads(wish, 40, ulysses, tokens_480p);
      const std::int64_t most = (40 + ulysses - 1) / ulysses;
      EXPECT_EQ(std::accumulate(chunks.begin(), chunks.end(), std::int64_t{0}), most);
      if (40 % ulysses != 0) {
        EXPECT_GT(*std::ranges::max_element(chunks), 1) << ulysses;
      }
    }
  }
}

TEST(DivideHeads, ChoosesWhereTheWishDoesNotFit) {
  EXPECT_EQ(divide_heads({.sizes = {3, 17}}, 40, 4, tokens_480p), chosen(40, 4, tokens_480p));
  EXPECT_EQ(divide_heads({.count = 4}, 40, 4, tokens_480p), chosen(40, 4, tokens_480p));
}

TEST(HeadChunkWish, KnowsWhatFitsAndDescribesItself) {
  const HeadChunkWish automatic;
  const HeadChunkWish equal{.count = 4};
  const HeadChunkWish listed{.sizes = {3, 17}};
  EXPECT_TRUE(automatic.fits(40, 7) && equal.fits(40, 2) && listed.fits(40, 2));
  EXPECT_FALSE(equal.fits(40, 4) || listed.fits(40, 4));
  EXPECT_TRUE(HeadChunkWish{.count = 7}.fits(40, 3) && listed.fits(39, 2));
  EXPECT_FALSE(HeadChunkWish{.count = 14}.fits(40, 3)) << "the others have 13 heads";
  EXPECT_EQ(describe(automatic) + " " + describe(equal) + " " + describe(listed), "auto 4 3+17");
}

}  // namespace
}  // namespace wan::parallel
