#include "vae/layers.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>

#include "unit/vae/random_weights.h"
#include "unit/vae/whole_clip.h"
#include "vae/resample.h"
#include "wan/error.h"

namespace wan::vae {
namespace {

using test::RandomTensors;
using test::relative_difference;
using test::Weights;

constexpr double tolerance = 1e-13;  // fp64

WeightScope scope_of(const Weights& weights) {
  return WeightScope([&weights](const std::string& name, at::IntArrayRef shape) {
    const at::Tensor tensor = weights.at(name);
    EXPECT_EQ(tensor.sizes(), shape) << name;
    return tensor;
  });
}

/// A map of the references, [C, T, h, W], as layers take it, and the way back.
at::Tensor channels_last(const at::Tensor& map) { return map.permute({1, 2, 3, 0}).contiguous(); }
at::Tensor channels_first(const at::Tensor& map) { return map.permute({3, 0, 1, 2}); }

/// Passes a clip [C, T, h, W] through a layer in chunks of the given lengths.
template <typename Layer>
at::Tensor in_chunks(const Layer& layer, const at::Tensor& clip, const std::vector<std::int64_t>& lengths) {
  SinglePart rows(clip.size(2));
  typename Layer::State state;
  std::vector<at::Tensor> made;
  std::int64_t first = 0;
  for (const std::int64_t length : lengths) {
    made.push_back(channels_first(layer(channels_last(clip.narrow(1, first, length)), state, rows)));
    first += length;
  }
  return at::cat(made, 1);
}

TEST(CausalConv3d, AnyChunkingGivesTheWholeClip) {
  RandomTensors random(1);
  const Weights weights{{"c.weight", random({5, 3, 3, 3, 3})}, {"c.bias", random({5})}};
  const at::Tensor clip = random({3, 7, 6, 5});
  const CausalConv3d conv(scope_of(weights) / "c", 3, 5, {3, 3, 3});
  const at::Tensor expected = test::reference_causal_conv(clip, weights.at("c.weight"), weights.at("c.bias"));
  for (const std::vector<std::int64_t>& lengths :
       {std::vector<std::int64_t>{7}, {1, 4, 2}, {1, 1, 1, 4}, {2, 5}, {1, 1, 1, 1, 1, 1, 1}})
    EXPECT_LE(relative_difference(in_chunks(conv, clip, lengths), expected), tolerance);
}

TEST(CausalConv3d, CacheHoldsItsOwnTwoFrames) {
  RandomTensors random(2);
  const Weights weights{{"weight", random({2, 2, 3, 3, 3})}, {"bias", random({2})}};
  const CausalConv3d conv(scope_of(weights), 2, 2, {3, 3, 3});
  SinglePart rows(4);
  FrameCache cache;
  for (const std::int64_t length : {1, 4, 1}) {
    const at::Tensor x = random({length, 4, 4, 2});
    conv(x, cache, rows);
    EXPECT_EQ(cache.frames.sizes(), (std::vector<std::int64_t>{2, 6, 4, 2}));  // with a halo row on each side
    EXPECT_TRUE(cache.frames[1].narrow(0, 1, 4).equal(x[length - 1]));
  }
  EXPECT_EQ(cache.frames.storage().nbytes(), cache.frames.nbytes());
}

TEST(RmsNorm, IsAnL2NormTimesRootOfChannels) {
  RandomTensors random(3);
  const Weights weights{{"gamma", random({6, 1, 1, 1})}};
  const at::Tensor x = random({6, 2, 3, 4});
  EXPECT_LE(relative_difference(channels_first(RmsNorm(scope_of(weights), 6, 3)(channels_last(x))),
                                test::reference_norm(x, weights.at("gamma"))),
            tolerance);
}

TEST(RmsNorm, ZerosStayZerosAndTinyValuesAreNotBlownUp) {
  const Weights weights{{"gamma", at::ones({4, 1, 1, 1}, at::kDouble)}};
  const RmsNorm norm(scope_of(weights), 4, 3);
  EXPECT_TRUE(norm(at::zeros({1, 2, 2, 4}, at::kDouble)).eq(0).all().item<bool>());
  // The norm 2e-14 is below the minimum of 1e-12, so the division uses the minimum.
  const at::Tensor tiny = norm(at::full({1, 1, 1, 4}, 1e-14, at::kDouble));
  EXPECT_LE(relative_difference(tiny, at::full_like(tiny, 2e-2)), tolerance);
}

TEST(ResidualBlock, OverwritesItsInputOnlyIfNobodyElseHoldsIt) {
  RandomTensors random(9);
  Weights weights;
  for (const char* name : {"0.gamma", "3.gamma"})
    weights[std::string("residual.") + name] = random({4, 1, 1, 1});
  for (const char* name : {"2", "6"}) {
    weights[fmt::format("residual.{}.weight", name)] = random({4, 4, 3, 3, 3});
    weights[fmt::format("residual.{}.bias", name)] = random({4});
  }
  const ResidualBlock block(scope_of(weights), 4, 4);
  SinglePart rows(3);
  const at::Tensor x = random({2, 3, 5, 4});
  const at::Tensor kept = x.clone();
  at::Tensor free = x.clone();
  const void* memory = free.const_data_ptr();
  ResidualBlock::State first, second, third;
  const at::Tensor expected = block(x, first, rows);
  EXPECT_TRUE(x.equal(kept));
  const at::Tensor made = block(std::move(free), second, rows);
  EXPECT_EQ(made.const_data_ptr(), memory);
  EXPECT_TRUE(made.equal(expected));
  EXPECT_TRUE(block(x.narrow(0, 0, 2), third, rows).equal(expected));
  EXPECT_TRUE(x.equal(kept));  // a view of another's memory is not free
}

TEST(Bands, CoverAllRowsAndFitTheWindow) {
  constexpr std::int64_t window_bytes = Arithmetic{}.window_bytes;
  EXPECT_EQ(bands(480, 6 * 832 * 96 * 4, window_bytes).size(), 1U);
  const std::int64_t row_bytes = window_bytes / 7;
  std::int64_t next = 0;
  for (const Band& band : bands(30, row_bytes, window_bytes)) {
    EXPECT_EQ(band.first, next);
    EXPECT_GE(band.count, 1);
    EXPECT_LE(band.count * row_bytes, window_bytes);
    next = band.end();
  }
  EXPECT_EQ(next, 30);
  EXPECT_EQ(bands(3, 2 * window_bytes, window_bytes).size(), 3U);
}

TEST(AttentionBlock, AttendsWithinAFrame) {
  RandomTensors random(4);
  const Weights weights{{"a.norm.gamma", random({8, 1, 1})},
                        {"a.to_qkv.weight", random({24, 8, 1, 1})},
                        {"a.to_qkv.bias", random({24})},
                        {"a.proj.weight", random({8, 8, 1, 1})},
                        {"a.proj.bias", random({8})}};
  const at::Tensor clip = random({8, 3, 4, 5});
  const AttentionBlock attention(scope_of(weights) / "a", 8);
  EXPECT_LE(
      relative_difference(in_chunks(attention, clip, {1, 2}), test::reference_attention(weights, "a", clip)),
      tolerance);
}

Weights resample_weights(RandomTensors& random, std::int64_t out, std::int64_t in, std::int64_t time_out) {
  Weights weights{{"r.resample.1.weight", random({out, in, 3, 3})}, {"r.resample.1.bias", random({out})}};
  if (time_out > 0) {
    weights["r.time_conv.weight"] = random({time_out, in, 3, 1, 1});
    weights["r.time_conv.bias"] = random({time_out});
  }
  return weights;
}

TEST(Downsample, SpatialPadsBelowAndRightOnly) {
  RandomTensors random(5);
  const Weights weights = resample_weights(random, 4, 4, 0);
  const at::Tensor clip = random({4, 5, 6, 8});
  const Downsample down(scope_of(weights) / "r", 4, false);
  EXPECT_LE(
      relative_difference(in_chunks(down, clip, {1, 4}), test::reference_downsample(weights, "r", clip)),
      tolerance);
}

TEST(Downsample, TemporalPassesTheFirstFrameAndHalvesTheOthers) {
  RandomTensors random(6);
  const Weights weights = resample_weights(random, 4, 4, 4);
  const at::Tensor clip = random({4, 9, 4, 4});
  const Downsample down(scope_of(weights) / "r", 4, true);
  const at::Tensor expected = test::reference_downsample(weights, "r", clip);
  ASSERT_EQ(expected.size(1), 5);
  EXPECT_LE(relative_difference(in_chunks(down, clip, {1, 4, 4}), expected), tolerance);
  EXPECT_LE(relative_difference(in_chunks(down, clip, {1, 2, 2, 4}), expected), tolerance);
  EXPECT_THROW(in_chunks(down, clip, {1, 3}), Error);
  EXPECT_THROW(in_chunks(down, clip, {2}), Error);
}

TEST(Upsample, TemporalKeepsTheFirstFrameOutOfTheTimeConvolution) {
  RandomTensors random(7);
  const Weights weights = resample_weights(random, 2, 4, 8);
  const at::Tensor clip = random({4, 5, 3, 4});
  const Upsample up(scope_of(weights) / "r", 4, 2, true);
  const at::Tensor expected = test::reference_upsample(weights, "r", clip);
  ASSERT_EQ(expected.size(1), 9);
  EXPECT_LE(relative_difference(in_chunks(up, clip, {1, 1, 1, 1, 1}), expected), tolerance);
  EXPECT_LE(relative_difference(in_chunks(up, clip, {1, 2, 2}), expected), tolerance);
  EXPECT_THROW(in_chunks(up, clip, {2}), Error);
}

TEST(Upsample, SpatialHalvesTheChannels) {
  RandomTensors random(8);
  const Weights weights = resample_weights(random, 2, 4, 0);
  const at::Tensor clip = random({4, 5, 3, 4});
  const Upsample up(scope_of(weights) / "r", 4, 2, false);
  const at::Tensor made = in_chunks(up, clip, {1, 4});
  EXPECT_EQ(made.sizes(), (std::vector<std::int64_t>{2, 5, 6, 8}));
  EXPECT_LE(relative_difference(made, test::reference_upsample(weights, "r", clip)), tolerance);
}

}  // namespace
}  // namespace wan::vae
