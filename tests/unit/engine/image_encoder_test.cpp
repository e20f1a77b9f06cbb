#include "engine/image_encoder.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "comm/local.h"

namespace wan::engine {
namespace {

TEST(ImageEncoder, OfRandomWeightsGivesFiniteFeatures) {
  const checkpoint::ImageEncoderConfig config{
      .dim = 64, .ffn_dim = 128, .image_size = 28, .patch_size = 14, .num_heads = 4, .num_layers = 2};
  const auto alone = comm::make_local("fsdp");
  ImageEncoder encoder(synthetic_image_encoder(config), {}, *alone);
  const at::Tensor image = at::rand({3, 28, 28}, at::kFloat) * 2 - 1;
  const at::Tensor features = encoder.encode(image);
  EXPECT_EQ(features.sizes(), (at::IntArrayRef{config.tokens(), config.dim}));
  EXPECT_TRUE(features.isfinite().all().item<bool>());
  EXPECT_TRUE(at::equal(encoder.encode(image), features)) << "the weights are the same the second time";
  EXPECT_EQ(encoder.loads(), 1);
}

}  // namespace
}  // namespace wan::engine
