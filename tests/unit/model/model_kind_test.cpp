#include "model/model_kind.h"

#include <gtest/gtest.h>

#include "support/message_of.h"
#include "wan/error.h"

namespace wan::model {
namespace {

TEST(ModelKind, DefaultsAreTheTasksOwn) {
  const TaskDefaults& i2v = model_kind("i2v-A14B").defaults;
  EXPECT_EQ(i2v.sample_shift, 5.0);
  EXPECT_EQ(i2v.boundary, 0.9);
  EXPECT_EQ(i2v.guide_scale, (GuideScale{3.5, 3.5}));
  const TaskDefaults& t2v = model_kind("t2v-A14B").defaults;
  EXPECT_EQ(t2v.sample_shift, 12.0);
  EXPECT_EQ(t2v.boundary, 0.875);
  EXPECT_EQ(t2v.guide_scale, (GuideScale{3.0, 4.0}));
}

TEST(ModelKind, ChannelsOfTheTransformersInput) {
  EXPECT_EQ(model_kind("i2v-A14B").input_channels(), 36);
  EXPECT_EQ(model_kind("t2v-A14B").input_channels(), 16);
}

TEST(ModelKind, IsFoundByItsTypeInConfigJson) {
  for (const ModelKind& kind : model_kinds()) {
    const ModelKind* found = find_model_type(kind.model_type);
    ASSERT_NE(found, nullptr);
    EXPECT_EQ(found->input_channels(), kind.input_channels());
    EXPECT_EQ(found->geometry, kind.geometry);
    EXPECT_FALSE(kind.experts.empty());
  }
  EXPECT_EQ(find_model_type("s2v"), nullptr);
}

TEST(ModelKind, UnknownTasksAreAnsweredWithTheKnownOnes) {
  EXPECT_TRUE(known_tasks().starts_with("i2v-A14B, t2v-A14B, t2v-1.3B")) << known_tasks();
  try {
    model_kind("t2v");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_EQ(error.what(), "there is no task 't2v'; the tasks are " + known_tasks());
  }
}

TEST(ModelKind, OneExpertOfWan21) {
  for (const char* task : {"t2v-1.3B", "t2v-14B"}) {
    const ModelKind& kind = model_kind(task);
    EXPECT_TRUE(kind.has_one_expert());
    EXPECT_EQ(kind.experts.front().expert, Expert::single);
    EXPECT_EQ(kind.experts.front().folder, "");
    EXPECT_EQ(kind.defaults.sample_steps, 50);
    EXPECT_EQ(kind.defaults.sample_shift, 5.0);
    EXPECT_EQ(kind.defaults.guide_scale, (GuideScale{5.0, 5.0}));
    EXPECT_EQ(kind.defaults.boundary, std::nullopt);
    EXPECT_EQ(kind.defaults.fps, 16);
    EXPECT_EQ(kind.defaults.negative_prompt, default_negative_prompt());
  }
  EXPECT_EQ(model_kind("t2v-1.3B").defaults.size, (PixelSize{832, 480}));
  EXPECT_EQ(model_kind("t2v-14B").defaults.size, (PixelSize{1280, 720}));
}

TEST(ModelKind, Ti2v) {
  const ModelKind& kind = model_kind("ti2v-5B");
  EXPECT_EQ(&kind, find_single("ti2v", 3072));
  EXPECT_TRUE(kind.has_one_expert());
  EXPECT_EQ(kind.input_channels(), 48);
  EXPECT_EQ(kind.vae_file, "Wan2.2_VAE.pth");
  EXPECT_EQ(kind.defaults.size, (PixelSize{1280, 704}));
  EXPECT_EQ(kind.defaults.frame_num, 121);
  EXPECT_EQ(kind.defaults.fps, 24);
  EXPECT_EQ(kind.defaults.sample_steps, 50);
  EXPECT_EQ(kind.defaults.sample_shift, 5.0);
  EXPECT_EQ(kind.defaults.guide_scale, (GuideScale{5.0, 5.0}));
  EXPECT_EQ(kind.defaults.boundary, std::nullopt);
  EXPECT_EQ(kind.defaults.solver, Solver::unipc);
  EXPECT_EQ(kind.defaults.negative_prompt, default_negative_prompt());
  EXPECT_EQ(test::message_of<UsageError>([&] {
              require_size_fits(kind, {1280, 720}, "--size");
            }),
            "--size: 1280*720 has a side that is no multiple of 32, as ti2v-5B needs them; use 1280*704");
  EXPECT_NO_THROW(require_size_fits(kind, {704, 1280}, "--size"));
  EXPECT_NO_THROW(require_size_fits(model_kind("t2v-A14B"), {1280, 720}, "--size"));
}

TEST(ModelKind, ImageToVideoOfWan21) {
  const ModelKind& kind = model_kind("i2v-14B");
  EXPECT_TRUE(kind.has_image_encoder());
  EXPECT_EQ(kind.input_channels(), 36);
  const TaskDefaults& defaults = kind.defaults;
  EXPECT_EQ(defaults.sample_steps, 40);
  EXPECT_EQ(defaults.guide_scale, (GuideScale{5.0, 5.0}));
  EXPECT_EQ(defaults.size, (PixelSize{1280, 720}));
  EXPECT_EQ(defaults.shift_of({1280, 720}), 5.0);
  EXPECT_EQ(defaults.shift_of({832, 480}), 3.0);
  EXPECT_EQ(defaults.shift_of({480, 832}), 3.0);
  EXPECT_EQ(model_kind("i2v-A14B").defaults.shift_of({832, 480}), 5.0);
  EXPECT_EQ(defaults.negative_prompt, "镜头晃动，" + std::string(default_negative_prompt()));
}

TEST(ModelKind, OneExpertIsFoundByItsWidth) {
  const auto found = [](std::int64_t dim) { return find_single("t2v", dim)->task; };
  EXPECT_EQ(found(1536), "t2v-1.3B");
  EXPECT_EQ(found(64), "t2v-1.3B");  // a toy
  EXPECT_EQ(found(2048), "t2v-14B");
  EXPECT_EQ(found(5120), "t2v-14B");
  EXPECT_EQ(found(8192), "t2v-14B");
  EXPECT_EQ(find_single("s2v", 5120), nullptr);
}

TEST(ModelKind, OneExpertTakesNeitherABoundaryNorTwoScales) {
  const auto error_of = [](std::optional<double> boundary, std::optional<GuideScale> scale) {
    return test::message_of<UsageError>([&] {
      require_values_fit(model_kind("t2v-1.3B"), boundary, scale, "--boundary", "--sample-guide-scale");
    });
  };
  EXPECT_EQ(error_of(0.0, {}),
            "--boundary: t2v-1.3B has one expert, and so no boundary between two; leave it out");
  EXPECT_EQ(error_of({}, GuideScale{3, 4}),
            "--sample-guide-scale: t2v-1.3B has one expert and takes one guidance scale, not the two 3:4");
  EXPECT_NO_THROW(require_values_fit(model_kind("t2v-1.3B"), {}, GuideScale{6, 6}, "", ""));
  EXPECT_NO_THROW(require_values_fit(model_kind("t2v-A14B"), 0.5, GuideScale{3, 4}, "", ""));
}

TEST(ModelKind, Fp16IsOfferedForTheSmallModels) {
  EXPECT_NO_THROW(require_fp16_offered(model_kind("t2v-1.3B"), "--precision fp16"));
  EXPECT_NO_THROW(require_fp16_offered(model_kind("ti2v-5B"), "--precision fp16"));
  EXPECT_EQ(
      test::message_of<UsageError>([] { require_fp16_offered(model_kind("i2v-A14B"), "--precision fp16"); }),
      "--precision fp16 is offered for t2v-1.3B and ti2v-5B, not for i2v-A14B; use bf16, or fp32");
}

TEST(VideoGeometry, LatentsAndTokensOfTheA14BModels) {
  const VideoGeometry& geometry = model_kind("i2v-A14B").geometry;
  EXPECT_EQ(geometry.pixels_per_token(), 16);
  EXPECT_EQ(geometry.latent_frames(1), 1);
  EXPECT_EQ(geometry.latent_frames(81), 21);
  EXPECT_EQ(geometry.latent_shape(16, 81, {832, 480}), (std::array<std::int64_t, 4>{16, 21, 60, 104}));
  const TokenGrid grid = geometry.token_grid(81, {832, 480});
  EXPECT_EQ(grid, (TokenGrid{21, 30, 52}));
  EXPECT_EQ(grid.tokens(), 32760);
  EXPECT_EQ(geometry.frame_pixels(grid), 832 * 480);
  EXPECT_EQ(geometry.frame_num(grid), 81);
  EXPECT_EQ(geometry.token_features(16), 64);
}

TEST(VideoGeometry, OtherStridesNeedNoOtherCode) {
  const VideoGeometry ti2v{
      .latent_channels = 48, .frames_per_latent = 4, .pixels_per_latent = 16, .latents_per_token = 2};
  EXPECT_EQ(ti2v.pixels_per_token(), 32);
  EXPECT_EQ(ti2v.latent_shape(48, 121, {1280, 704}), (std::array<std::int64_t, 4>{48, 31, 44, 80}));
  EXPECT_EQ(ti2v.token_grid(121, {1280, 704}).tokens(), 27280);
}

}  // namespace
}  // namespace wan::model
