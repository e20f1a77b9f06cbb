#include "model/model_kind.h"

#include <gtest/gtest.h>

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
    EXPECT_EQ(found->task, kind.task);
    EXPECT_FALSE(kind.experts.empty());
  }
  EXPECT_EQ(find_model_type("s2v"), nullptr);
}

TEST(ModelKind, UnknownTasksAreAnsweredWithTheKnownOnes) {
  EXPECT_EQ(known_tasks(), "i2v-A14B and t2v-A14B");
  try {
    model_kind("i2v-14B");
    FAIL();
  } catch (const UsageError& error) {
    EXPECT_STREQ(error.what(), "there is no task 'i2v-14B'; the tasks are i2v-A14B and t2v-A14B");
  }
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
