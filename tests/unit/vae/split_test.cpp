#include <fmt/format.h>
#include <gtest/gtest.h>

#include <vector>

#include "support/threaded_row_exchange.h"
#include "unit/vae/random_weights.h"
#include "vae/vae.h"
#include "wan/error.h"

namespace wan::vae {
namespace {

using test::run_parts;
using test::ThreadedRowExchange;

// On the CPU, all parts together make the same bits as one part.
// Narrower ones amplify rounding: a norm over two channels may divide by a value close to zero.
const VaeConfig small = VaeConfig::wan21(8);
const VaeConfig small_wan22 = VaeConfig::wan22(8, 8);

TEST(RowSplit, CoversTheRowsInOrder) {
  for (const int parts : {1, 2, 3, 4, 7}) {
    std::int64_t next = 0;
    for (int part = 0; part < parts; ++part) {
      const RowSplit split(11, parts, part);
      EXPECT_EQ(split.first_row(part), next);
      EXPECT_GE(split.row_count(part), 1);
      EXPECT_EQ(split.scale_of(8 * split.row_count(part)), 8);
      next += split.row_count(part);
    }
    EXPECT_EQ(next, 11);
  }
  const at::Tensor whole = at::arange(40).view({1, 40});
  EXPECT_TRUE(RowSplit(5, 2, 1).own_rows(whole, 1).equal(at::arange(16, 40).view({1, 24})));
  EXPECT_THROW(RowSplit(5, 2, 1).own_rows(at::zeros({1, 41}), 1), Error);
  EXPECT_THROW(RowSplit(5, 2, 1).scale_of(4), Error);
}

TEST(RowSplit, EveryPartOwnsARow) {
  EXPECT_EQ(active_parts(8, 90), 8);
  EXPECT_EQ(active_parts(8, 3), 3);
  EXPECT_THROW(RowSplit(3, 4, 0), Error);
  EXPECT_THROW(RowSplit(3, 2, 2), Error);
}

struct SplitCase {
  int ranks;
  std::int64_t latent_rows;
};

std::string name_of(const ::testing::TestParamInfo<SplitCase>& info) {
  return fmt::format("{}ranks{}rows", info.param.ranks, info.param.latent_rows);
}

class Split : public ::testing::TestWithParam<SplitCase> {
 protected:
  int parts() const { return active_parts(GetParam().ranks, rows()); }
  std::int64_t rows() const { return GetParam().latent_rows; }

  const test::Weights weights_ = test::in_fp32(test::random_vae_weights(small, 11));
  const Vae vae_{small, test::lookup(weights_)};
};
// Even, ragged, one row per part, and more ranks than rows.
INSTANTIATE_TEST_SUITE_P(Vae, Split,
                         ::testing::Values(SplitCase{1, 4}, SplitCase{2, 4}, SplitCase{2, 5}, SplitCase{3, 5},
                                           SplitCase{4, 6}, SplitCase{3, 3}, SplitCase{4, 4},
                                           SplitCase{8, 3}),
                         name_of);

TEST_P(Split, EncodesAsOnePart) {
  const at::Tensor pixels = test::RandomTensors(12)({3, 9, 8 * rows(), 24}).to(at::kFloat);
  const auto clip_of = [](const at::Tensor& own) {
    return PixelClip{.frames = 9, .read = [own](std::int64_t first, std::int64_t count) {
                       return own.narrow(1, first, count);
                     }};
  };
  SinglePart whole(rows());
  const at::Tensor expected = vae_.encode(clip_of(pixels), whole);
  std::vector<at::Tensor> made(parts());
  run_parts(parts(), rows(), [&](ThreadedRowExchange& exchange) {
    made[exchange.split().part()] = vae_.encode(clip_of(exchange.split().own_rows(pixels, 2)), exchange);
  });
  EXPECT_TRUE(at::cat(made, 2).equal(expected));
}

TEST_P(Split, DecodesAsOnePart) {
  const at::Tensor latent = test::RandomTensors(13)({16, 3, rows(), 3}).to(at::kFloat);
  const auto decode = [&](const at::Tensor& own, RowExchange& exchange) {
    std::vector<at::Tensor> chunks;
    vae_.decode(own, exchange, [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
    return at::cat(chunks, 0);
  };
  SinglePart whole(rows());
  const at::Tensor expected = decode(latent, whole);
  std::vector<at::Tensor> made(parts());
  run_parts(parts(), rows(), [&](ThreadedRowExchange& exchange) {
    made[exchange.split().part()] = decode(exchange.split().own_rows(latent, 2), exchange);
  });
  EXPECT_TRUE(at::cat(made, 1).equal(expected));
}

TEST_P(Split, DecodesRoundedValuesAsOnePart) {
  const at::Tensor latent = test::RandomTensors(13)({16, 2, rows(), 3}).to(at::kFloat);
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {
    const Vae rounded(small, test::lookup(weights_), {.rounded = type});
    const auto decode = [&](RowExchange& exchange) {
      std::vector<at::Tensor> chunks;
      rounded.decode(exchange.split().own_rows(latent, 2), exchange,
                     [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
      return at::cat(chunks, 0);
    };
    SinglePart whole(rows());
    const at::Tensor expected = decode(whole);
    std::vector<at::Tensor> made(parts());
    run_parts(parts(), rows(),
              [&](ThreadedRowExchange& exchange) { made[exchange.split().part()] = decode(exchange); });
    EXPECT_EQ(expected.scalar_type(), at::kFloat);
    EXPECT_TRUE(at::cat(made, 1).equal(expected));
  }
}

/// The same for the autoencoder of Wan 2.2, whose pixel rows are folded and whose levels have shortcuts.
class SplitWan22 : public ::testing::TestWithParam<SplitCase> {};
INSTANTIATE_TEST_SUITE_P(Vae, SplitWan22,
                         ::testing::Values(SplitCase{2, 5}, SplitCase{3, 3}, SplitCase{4, 6}), name_of);

TEST_P(SplitWan22, MakesTheSameAsOnePart) {
  const auto& [ranks, rows] = GetParam();
  const test::Weights weights = test::random_vae_weights(small_wan22, 17);
  const Vae vae(small_wan22, test::lookup(weights));
  const at::Tensor pixels = test::RandomTensors(18)({3, 9, 16 * rows, 32});
  const at::Tensor latent = test::RandomTensors(19)({48, 3, rows, 2});
  const auto both = [&](RowExchange& exchange) {
    const at::Tensor own = exchange.split().own_rows(pixels, 2);
    const PixelClip clip{.frames = 9, .read = [own](std::int64_t first, std::int64_t count) {
                           return own.narrow(1, first, count);
                         }};
    std::vector<at::Tensor> made{vae.encode(clip, exchange)};
    std::vector<at::Tensor> chunks;
    vae.decode(exchange.split().own_rows(latent, 2), exchange,
               [&](const at::Tensor& chunk, std::int64_t) { chunks.push_back(chunk); });
    made.push_back(at::cat(chunks, 0).permute({3, 0, 1, 2}));  // [3, F, h, W]
    return made;
  };
  SinglePart whole(rows);
  const std::vector<at::Tensor> expected = both(whole);
  std::vector<std::vector<at::Tensor>> made(ranks);
  run_parts(ranks, rows,
            [&](ThreadedRowExchange& exchange) { made[exchange.split().part()] = both(exchange); });
  for (std::size_t i = 0; i < expected.size(); ++i) {
    std::vector<at::Tensor> parts;
    for (const std::vector<at::Tensor>& of_part : made) parts.push_back(of_part.at(i));
    EXPECT_TRUE(at::cat(parts, 2).equal(expected[i]));
  }
}

TEST_P(Split, EncodesAnImageClipAsOnePart) {
  const at::Tensor image = test::RandomTensors(14)({3, 8 * rows(), 16}).to(at::kFloat);
  SinglePart whole(rows());
  const at::Tensor expected = vae_.encode(image_clip(image, 33), whole);
  std::vector<at::Tensor> made(parts());
  run_parts(parts(), rows(), [&](ThreadedRowExchange& exchange) {
    made[exchange.split().part()] =
        vae_.encode(image_clip(exchange.split().own_rows(image, 1), 33), exchange);
  });
  EXPECT_TRUE(at::cat(made, 2).equal(expected));
}

class ExchangeCount : public ::testing::Test {
 protected:
  const test::Weights weights_ = test::random_vae_weights(small, 15);
  const Vae vae_{small, test::lookup(weights_)};
  int halos_ = 0;
  int gathers_ = 0;

  void encode(const std::function<PixelClip(const at::Tensor&)>& clip_of) {
    const at::Tensor image = test::RandomTensors(16)({3, 16, 8});
    run_parts(2, 2, [&](ThreadedRowExchange& exchange) {
      vae_.encode(clip_of(exchange.split().own_rows(image, 1)), exchange);
      if (exchange.split().part() == 0) {
        halos_ = exchange.halo_calls;
        gathers_ = exchange.gather_calls;
      }
    });
  }
};

TEST_F(ExchangeCount, OnePerSpatialConvolutionAndAttention) {
  // conv1, 8 + 2 residual blocks of two, 3 down-samplings, head: 25 in each of the 1 + 2 chunks.
  encode([](const at::Tensor& own) {
    PixelClip clip = image_clip(own, 9);
    clip.constant_from = never_constant;
    return clip;
  });
  EXPECT_EQ(halos_, 3 * 25);
  EXPECT_EQ(gathers_, 3);
}

TEST_F(ExchangeCount, ConstantLayersOfAnImageClipDoNotCompute) {
  encode([](const at::Tensor& own) { return image_clip(own, 81); });
  // Number of chunks until the first constant frame (model.md 4.7) exists. Chunk k > 0 ends with frame 4k (2k
  // and k after the two temporal down-samplings). Every other chunk is a repetition.
  const int full_resolution = 2 * 1 + 3 * 2 + 4 * 2 + 4 * 1;  // conv1, ds.0, ds.1, ds.2: 3, 7, 11, 11
  const int half_resolution = 5 * 2 + 6 * 2 + 7 * 1;          // ds.3, ds.4, spatial part of ds.5: 15, 19, 11
  const int quarter_resolution = 9 * 2 + 11 * 2 + 12 * 1;     // ds.6, ds.7, spatial part of ds.8: 15, 19, 11
  const int latent_resolution =
      16 * 2 + 20 * 2 + 21 * (2 + 2 + 1);  // ds.9, ds.10, middle, head: 15, 19, 23, 27, 29
  EXPECT_EQ(halos_, full_resolution + half_resolution + quarter_resolution + latent_resolution);
  EXPECT_EQ(gathers_, 21);
}

}  // namespace
}  // namespace wan::vae
