#include "engine/image_condition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/validate.h"
#include "model/model_kind.h"
#include "support/message_of.h"
#include "support/parity_case.h"
#include "wan/error.h"

namespace wan::engine {
namespace {

struct SizeCase {
  PixelSize image, size, expected;
};
class FitToArea : public testing::TestWithParam<SizeCase> {};

TEST_P(FitToArea, AsTabulated) {
  EXPECT_EQ(fit_to_area(GetParam().image, GetParam().size, model::wan21_geometry), GetParam().expected);
}

constexpr PixelSize small{832, 480};
constexpr PixelSize large{1280, 720};
INSTANTIATE_TEST_SUITE_P(
    Table72, FitToArea,
    testing::Values(SizeCase{{480, 832}, small, {480, 832}}, SizeCase{{480, 832}, large, {720, 1248}},
                    SizeCase{{832, 480}, small, {832, 464}}, SizeCase{{832, 480}, large, {1248, 720}},
                    SizeCase{{1920, 1080}, small, {832, 464}}, SizeCase{{1280, 720}, large, {1280, 720}},
                    SizeCase{{720, 1280}, small, {464, 832}}, SizeCase{{720, 1280}, large, {720, 1280}},
                    SizeCase{{500, 500}, small, {624, 624}}, SizeCase{{500, 500}, large, {960, 960}},
                    SizeCase{{4000, 3000}, small, {720, 544}}, SizeCase{{640, 480}, large, {1104, 816}},
                    SizeCase{{1000, 1500}, small, {512, 768}}, SizeCase{{1000, 1500}, large, {768, 1168}},
                    SizeCase{{832, 1104}, small, {544, 720}}, SizeCase{{832, 1104}, large, {832, 1104}}));

TEST(FitToAreaLimits, AnImageTooThinForTheGridIsRefused) {
  EXPECT_THROW(fit_to_area({10000, 1}, {64, 64}, model::wan21_geometry), ItemError);
}

TEST(FitToAreaLimits, AnImageTooWideForAVideoIsRefused) {
  EXPECT_THROW(fit_to_area({10000, 10}, small, model::wan21_geometry), ItemError);  // 19968 x 16
  EXPECT_THROW(fit_to_area({10, 10000}, small, model::wan21_geometry), ItemError);
  EXPECT_EQ(fit_to_area({10000, 16}, small, model::wan21_geometry), (PixelSize{15792, 16}));
}

class ResizeParity : public testing::TestWithParam<std::string> {};

TEST_P(ResizeParity, MatchesTheReference) {
  const test::ParityCase parity = test::load_parity_case(GetParam());
  const media::Image image = media::read_image(parity.request.image);
  const PixelSize target =
      fit_to_area({image.width, image.height}, parity.request.size, model::wan21_geometry);
  EXPECT_LT(test::relative_error(resize_image(image, target), parity.tensor("image.resized")), 1e-6);
}

INSTANTIATE_TEST_SUITE_P(Cases, ResizeParity, testing::Values("i2v_landscape", "i2v_portrait_ragged"));

constexpr model::VideoGeometry wide_tokens{
    .latent_channels = 48, .frames_per_latent = 4, .pixels_per_latent = 16, .latents_per_token = 2};

struct FrameCase {
  PixelSize image, size;
  FrameFit expected;
};
class FirstFrame : public testing::TestWithParam<FrameCase> {};

TEST_P(FirstFrame, AsTabulated) {
  EXPECT_EQ(fit_first_frame(GetParam().image, GetParam().size, wide_tokens), GetParam().expected);
}

constexpr PixelSize full{1280, 704};
INSTANTIATE_TEST_SUITE_P(Table78, FirstFrame,
                         testing::Values(FrameCase{{1280, 704}, full, {{1280, 704}, 0, 0, {1280, 704}}},
                                         FrameCase{{1920, 1080}, full, {{1252, 704}, 2, 0, {1248, 704}}},
                                         FrameCase{{1080, 1920}, full, {{704, 1252}, 0, 2, {704, 1248}}},
                                         FrameCase{{832, 480}, full, {{1248, 720}, 0, 8, {1248, 704}}},
                                         FrameCase{{480, 832}, {704, 1280}, {{720, 1248}, 8, 0, {704, 1248}}},
                                         FrameCase{{500, 500}, full, {{960, 960}, 0, 16, {960, 928}}},
                                         FrameCase{{4000, 3000}, full, {{1088, 816}, 0, 8, {1088, 800}}},
                                         FrameCase{{1500, 1000}, full, {{1152, 768}, 0, 0, {1152, 768}}},
                                         FrameCase{{832, 1104}, full, {{820, 1088}, 10, 0, {800, 1088}}},
                                         FrameCase{{250, 130}, {96, 64}, {{123, 64}, 13, 0, {96, 64}}}));

TEST(FirstFrameLimits, AnImageTooThinOrTooWideIsRefused) {
  EXPECT_THROW(fit_first_frame({10000, 1}, {64, 64}, wide_tokens), ItemError);
  EXPECT_THROW(fit_first_frame({1, 10000}, {64, 64}, wide_tokens), ItemError);
  EXPECT_THROW(fit_first_frame({65535, 1}, full, wide_tokens), ItemError);
  EXPECT_THROW(fit_first_frame({64, 64}, {16, 16}, wide_tokens), ItemError);
}

TEST(FirstFrameParity, HasTheReferencesBits) {
  const test::ParityCase parity = test::load_parity_case("ti2v_image");
  const media::Image image = media::read_image(parity.folder / "input.png");
  const FrameFit fit = fit_first_frame({image.width, image.height}, parity.request.size, wide_tokens);
  EXPECT_TRUE(at::equal(first_frame(image, fit), parity.tensor("image.resized")));
}

TEST(VideoSize, OfARequestWithAndWithoutAnImage) {
  Request request = test::load_parity_case("ti2v_image").request;
  const model::ModelKind& ti2v = model::model_kind("ti2v-5B");
  EXPECT_TRUE(has_image(request, ti2v));
  EXPECT_EQ(video_size(request, ti2v), (PixelSize{96, 64}));
  request.size = {1280, 704};
  EXPECT_EQ(video_size(request, ti2v), (PixelSize{1312, 672}));
  EXPECT_FALSE(has_image(request, model::model_kind("t2v-A14B")));
  EXPECT_EQ(video_size(request, model::model_kind("t2v-A14B")), (PixelSize{1280, 704}));
  request.image.clear();
  EXPECT_FALSE(has_image(request, ti2v));
  EXPECT_EQ(video_size(request, ti2v), (PixelSize{1280, 704}));
  request.size = {1280, 720};
  EXPECT_THAT(
      test::message_of<ItemError>([&] { validate_request(request, ti2v, {}); }),
      testing::HasSubstr("size: 1280*720 has a side that is no multiple of 32, as ti2v-5B needs them"));
}

TEST(Resize, EqualSizeIsTheIdentity) {
  media::Image image{.width = 2, .height = 1, .rgb = {0, 51, 255, 102, 153, 204}};
  const at::Tensor pixels = resize_image(image, {2, 1});  // [3, 1, 2]
  EXPECT_NEAR(pixels[0][0][0].item<float>(), -1.0, 1e-6);
  EXPECT_NEAR(pixels[2][0][0].item<float>(), 1.0, 1e-6);
  EXPECT_NEAR(pixels[1][0][1].item<float>(), 153 / 255.0 * 2 - 1, 1e-6);
}

}  // namespace
}  // namespace wan::engine
