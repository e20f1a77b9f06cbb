#include "vae/vae.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <numeric>
#include <set>

#include "unit/vae/random_weights.h"
#include "unit/vae/whole_clip.h"
#include "wan/error.h"

namespace wan::vae {
namespace {

using test::relative_difference;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr double tolerance = 1e-13;  // fp64
// Narrower ones amplify rounding: a norm over two channels may divide by a value close to zero.
const VaeConfig small = VaeConfig::wan21(8);

PixelClip clip_of(const at::Tensor& pixels) {
  return {.frames = pixels.size(1), .read = [pixels](std::int64_t first, std::int64_t count) {
            return pixels.narrow(1, first, count);
          }};
}

at::Tensor decode_all(const Vae& vae, const at::Tensor& latent) {
  SinglePart rows(latent.size(2));
  std::vector<at::Tensor> chunks;
  std::int64_t next = 0;
  vae.decode(latent, rows, [&](const at::Tensor& chunk, std::int64_t first) {
    EXPECT_EQ(first, next);
    EXPECT_EQ(chunk.size(0), first == 0 ? 1 : 4);
    next = first + chunk.size(0);
    chunks.push_back(chunk.permute({3, 0, 1, 2}));
  });
  return at::cat(chunks, 1);
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing thrown";
}

TEST(VaeConfig, OfficialWidthHasTheOfficialTensors) {
  const std::vector<ExpectedShape> tensors = vae_tensors(VaeConfig::wan21(96));
  EXPECT_EQ(tensors.size(), 194U);
  std::int64_t parameters = 0;
  std::set<std::string> names;
  for (const ExpectedShape& tensor : tensors) {
    parameters +=
        std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
    names.insert(tensor.name);
  }
  EXPECT_EQ(parameters, 126'892'531);
  EXPECT_EQ(names.size(), tensors.size());
  EXPECT_TRUE(names.contains("encoder.downsamples.8.time_conv.weight"));
  EXPECT_TRUE(names.contains("decoder.upsamples.4.shortcut.weight"));
}

TEST(VaeConfig, IsReadFromShapes) {
  std::map<std::string, std::vector<std::int64_t>> shapes{{"encoder.conv1.weight", {24, 3, 3, 3, 3}},
                                                          {"conv2.weight", {16, 16, 1, 1, 1}}};
  const ShapeLookup lookup = [&](const std::string& name) { return shapes.at(name); };
  EXPECT_EQ(infer_vae_config(lookup).encoder_width, 24);
  EXPECT_EQ(infer_vae_config(lookup).decoder_width, 24);
  shapes["conv2.weight"] = {48, 48, 1, 1, 1};
  EXPECT_THAT(message_of([&] { infer_vae_config(lookup); }), HasSubstr("conv2.weight"));
  for (const std::vector<std::int64_t>& bad :
       {std::vector<std::int64_t>{}, {96}, {0, 3, 3, 3, 3}, {-4, 3, 3, 3, 3}, {1LL << 60, 3, 3, 3, 3}}) {
    shapes["encoder.conv1.weight"] = bad;
    EXPECT_THROW(infer_vae_config(lookup), UsageError);
  }
}

TEST(VaeConfig, OfficialSizesOfWan22HaveTheOfficialTensors) {
  const std::vector<ExpectedShape> tensors = vae_tensors(VaeConfig::wan22(160, 256));
  EXPECT_EQ(tensors.size(), 196U);
  std::int64_t encoder = 0;
  std::int64_t decoder = 0;
  std::set<std::string> names;
  for (const ExpectedShape& tensor : tensors) {
    const bool decodes = tensor.name.starts_with("decoder.");
    if (decodes || tensor.name.starts_with("encoder.")) {
      (decodes ? decoder : encoder) +=
          std::accumulate(tensor.shape.begin(), tensor.shape.end(), std::int64_t{1}, std::multiplies<>());
    }
    names.insert(tensor.name);
  }
  EXPECT_EQ(encoder, 149'627'776);
  EXPECT_EQ(decoder, 555'049'228);
  EXPECT_EQ(names.size(), tensors.size());
  EXPECT_TRUE(names.contains("encoder.downsamples.1.downsamples.2.time_conv.weight"));
  EXPECT_TRUE(names.contains("decoder.upsamples.3.upsamples.0.shortcut.weight"));
}

TEST(VaeConfig, OfWan22IsReadFromShapes) {
  std::map<std::string, std::vector<std::int64_t>> shapes{{"encoder.conv1.weight", {160, 12, 3, 3, 3}},
                                                          {"decoder.conv1.weight", {1024, 48, 3, 3, 3}},
                                                          {"conv2.weight", {48, 48, 1, 1, 1}}};
  const ShapeLookup lookup = [&](const std::string& name) { return shapes.at(name); };
  const VaeConfig config = infer_vae_config(lookup);
  EXPECT_EQ(config.family, Family::wan22);
  EXPECT_EQ(config.encoder_width, 160);
  EXPECT_EQ(config.decoder_width, 256);
  EXPECT_EQ(config.spatial_factor(), 16);
  shapes["decoder.conv1.weight"] = {1022, 48, 3, 3, 3};
  EXPECT_THAT(message_of([&] { infer_vae_config(lookup); }), HasSubstr("decoder.conv1.weight"));
  shapes["conv2.weight"] = {16, 16, 1, 1, 1};
  EXPECT_THAT(message_of([&] { infer_vae_config(lookup); }), HasSubstr("conv2.weight"));
}

TEST(VaeConfig, FrameCounts) {
  EXPECT_EQ(latent_frames(81), 21);
  EXPECT_EQ(latent_frames(1), 1);
  EXPECT_EQ(pixel_frames(21), 81);
  for (const std::int64_t bad : {-3, 0, 2, 4, 80}) EXPECT_THROW(latent_frames(bad), Error);
}

TEST(Vae, WrongShapeNamesTheTensor) {
  test::Weights weights = test::random_vae_weights(small, 1);
  weights["decoder.upsamples.8.residual.2.bias"] = at::zeros({5}, at::kDouble);
  EXPECT_THAT(message_of([&] { const Vae vae(small, test::lookup(weights)); }),
              AllOf(HasSubstr("decoder.upsamples.8.residual.2.bias"), HasSubstr("[5]"), HasSubstr("[16]")));
}

class ClipLength : public ::testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Vae, ClipLength, ::testing::Values(1, 5, 9, 13, 17, 29));

TEST_P(ClipLength, EncodedInChunksIsTheWholeClipEncoded) {
  const test::Weights weights = test::random_vae_weights(small, 2);
  const Vae vae(small, test::lookup(weights));
  const at::Tensor pixels = test::RandomTensors(3)({3, GetParam(), 32, 24});
  SinglePart rows(4);
  EXPECT_LE(relative_difference(vae.encode(clip_of(pixels), rows), test::whole_clip_encode(weights, pixels)),
            tolerance);
}

TEST_P(ClipLength, DecodedInChunksIsTheWholeClipDecoded) {
  const test::Weights weights = test::random_vae_weights(small, 4);
  const Vae vae(small, test::lookup(weights));
  const at::Tensor latent = test::RandomTensors(5)({16, latent_frames(GetParam()), 3, 4});
  const at::Tensor expected = test::whole_clip_decode(weights, latent);
  ASSERT_EQ(expected.size(1), GetParam());
  ASSERT_LT(expected.abs().lt(1).logical_not().to(at::kDouble).mean().item<double>(), 0.5)
      << "mostly clamped";
  EXPECT_LE(relative_difference(decode_all(vae, latent), expected), tolerance);
}

TEST(Vae, ImageClipSkipsOnlyWhatDoesNotChange) {
  const test::Weights weights = test::random_vae_weights(small, 6);
  const Vae vae(small, test::lookup(weights));
  const at::Tensor image = test::RandomTensors(7)({3, 16, 24});
  const int frames = 129;  // long enough for the latent itself to become constant (from latent 29 on)
  at::Tensor pixels = at::zeros({3, frames, 16, 24}, at::kDouble);
  pixels.select(1, 0).copy_(image);
  SinglePart rows(2);
  const at::Tensor quick = vae.encode(image_clip(image, frames), rows);
  const at::Tensor full = vae.encode(clip_of(pixels), rows);
  EXPECT_LE(relative_difference(quick, full), tolerance);
  EXPECT_TRUE(quick.select(1, 29).equal(quick.select(1, 32)));
}

TEST(Vae, RoundedActivationsComeCloseAndFramesAreFp32) {
  const test::Weights weights = test::in_fp32(test::random_vae_weights(small, 8));
  const Vae vae(small, test::lookup(weights));
  const at::Tensor latent = test::RandomTensors(9)({16, 3, 2, 3}).to(at::kFloat);
  const at::Tensor image = test::RandomTensors(7)({3, 16, 24}).to(at::kFloat);
  const at::Tensor pixels = decode_all(vae, latent);
  SinglePart rows(2);
  const at::Tensor encoded = vae.encode(image_clip(image, 9), rows);
  double previous = 0;
  for (const at::ScalarType type : {at::kHalf, at::kBFloat16}) {  // 10 and 7 bits of mantissa
    const Vae rounded(small, test::lookup(weights), {.rounded = type});
    const at::Tensor made = decode_all(rounded, latent);
    EXPECT_EQ(made.scalar_type(), at::kFloat);
    const auto difference = (made - pixels).abs().mean().item<double>();
    EXPECT_GT(difference, previous);
    EXPECT_LT(difference, type == at::kHalf ? 0.005 : 0.04);
    previous = difference;
    const at::Tensor latents = rounded.encode(image_clip(image, 9), rows);
    EXPECT_EQ(latents.scalar_type(), at::kFloat);
    EXPECT_LT((latents - encoded).abs().mean().item<double>(), type == at::kHalf ? 0.005 : 0.04);
  }
}

TEST(Vae, BandsOfRowsGiveTheSameBits) {
  for (const VaeConfig& config : {small, VaeConfig::wan22(8, 8)}) {
    const test::Weights weights = test::in_fp32(test::random_vae_weights(config, 8));
    const Vae whole(config, test::lookup(weights));
    const at::Tensor latent = test::RandomTensors(9)({config.latent_channels(), 3, 4, 3}).to(at::kFloat);
    const at::Tensor image = test::RandomTensors(7)({3, 4 * config.spatial_factor(), 32}).to(at::kFloat);
    SinglePart rows(4);
    for (const std::int64_t bytes : {1, 3000, 20000}) {  // a row, and some rows
      const Vae in_bands(config, test::lookup(weights),
                         {.rounded = {}, .tf32 = false, .window_bytes = bytes});
      EXPECT_TRUE(decode_all(in_bands, latent).equal(decode_all(whole, latent))) << bytes;
      EXPECT_TRUE(in_bands.encode(image_clip(image, 9), rows).equal(whole.encode(image_clip(image, 9), rows)))
          << bytes;
    }
  }
}

TEST(Vae, LaterLatentFramesDoNotChangeEarlierPixels) {
  const test::Weights weights = test::random_vae_weights(small, 8);
  const Vae vae(small, test::lookup(weights));
  const at::Tensor latent = test::RandomTensors(9)({16, 4, 2, 3});
  const at::Tensor whole = decode_all(vae, latent);
  EXPECT_TRUE(decode_all(vae, latent.narrow(1, 0, 2)).equal(whole.narrow(1, 0, 5)));
}

TEST(Vae, RefusesOtherShapes) {
  const test::Weights weights = test::random_vae_weights(small, 10);
  const Vae vae(small, test::lookup(weights));
  SinglePart rows(2);
  EXPECT_THROW(vae.encode(clip_of(at::zeros({3, 4, 16, 16}, at::kDouble)), rows), Error);
  EXPECT_THROW(vae.encode(clip_of(at::zeros({3, 1, 24, 16}, at::kDouble)), rows), Error);
  EXPECT_THROW(vae.encode(clip_of(at::zeros({3, 1, 16, 12}, at::kDouble)), rows), Error);
  const auto ignore = [](const at::Tensor&, std::int64_t) {};
  EXPECT_THROW(vae.decode(at::zeros({8, 1, 2, 2}, at::kDouble), rows, ignore), Error);
  EXPECT_THROW(vae.decode(at::zeros({16, 1, 3, 2}, at::kDouble), rows, ignore), Error);
}

TEST(ToUint8Frames, TruncatesAndClamps) {
  const at::Tensor values = at::tensor({-2.0F, -1.0F, -0.9922F, 0.0F, 0.9999F, 3.0F});
  const at::Tensor frames = to_uint8_frames(values.view({2, 1, 1, 3}));
  EXPECT_EQ(frames.sizes(), (std::vector<std::int64_t>{2, 1, 1, 3}));
  EXPECT_EQ(frames.scalar_type(), at::kByte);
  // 0.99 and 254.98 are cut, not rounded.
  EXPECT_TRUE(frames.flatten().equal(at::tensor({0, 0, 0, 127, 254, 255}, at::kByte)));
}

}  // namespace
}  // namespace wan::vae
