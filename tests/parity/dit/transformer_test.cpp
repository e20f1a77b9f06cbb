#include "dit/transformer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "dit/patchify.h"
#include "parity/dit/transformer_fixture.h"

namespace wan::dit {
namespace {

using test::Fixture;

constexpr double tolerance = 1e-5;

class TransformerParity : public testing::TestWithParam<std::string> {};

TEST_P(TransformerParity, BothPredictionsOfTheFirstStep) {
  using Sizes = std::vector<std::int64_t>;
  const bool has_three_heads = GetParam() == "i2v_portrait_ragged";
  std::vector<at::Tensor> in_one_chunk;
  for (const Sizes& chunk_heads : has_three_heads ? std::vector<Sizes>{{3}, {1, 2}, {1, 1, 1}}
                                                  : std::vector<Sizes>{{4}, {2, 2}, {3, 1}, {1, 2, 1}}) {
    Fixture fixture(GetParam(), chunk_heads);
    TextCondition prompt(fixture.parity.tensor("text.context"));
    TextCondition negative(fixture.parity.tensor("text.negative_context"));
    const std::vector<TextCondition*> texts{&prompt, &negative};
    for (int repeat = 0; repeat < 2; ++repeat) {  // the second forward runs on cached keys and values
      const auto predictions = fixture.forward(texts);
      ASSERT_EQ(predictions.size(), 2U);
      if (in_one_chunk.empty()) in_one_chunk = predictions;
      for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(at::equal(predictions[i], in_one_chunk[i]));
      EXPECT_LT(test::relative_error(unpatchify(predictions[0], fixture.grid),
                                     fixture.parity.tensor("step.0.cond")),
                tolerance);
      EXPECT_LT(test::relative_error(unpatchify(predictions[1], fixture.grid),
                                     fixture.parity.tensor("step.0.uncond")),
                tolerance);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, TransformerParity,
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square", "wan21_t2v",
                                         "wan21_i2v", "ti2v_image"));

class TransformerLayers : public testing::TestWithParam<std::string> {};

TEST_P(TransformerLayers, EveryIntermediateTensor) {
  Fixture fixture(GetParam());
  std::map<std::string, at::Tensor, std::less<>> seen;
  TextCondition prompt(fixture.parity.tensor("text.context"));
  const std::vector<TextCondition*> texts{&prompt};
  fixture.forward(texts,
                  [&](std::string_view name, const at::Tensor& value) { seen.emplace(name, value.clone()); });
  const auto check = [&](const std::string& name, const at::Tensor& actual) {
    const at::Tensor expected = fixture.parity.tensor("dit." + name);
    EXPECT_LT(test::relative_error(actual.reshape(expected.sizes()), expected), tolerance) << name;
  };
  const at::Tensor patch = fixture.parity.tensor("dit.patch_embedding");  // [1, dim, frames, rows, columns]
  EXPECT_LT(test::relative_error(seen.at("patch_embedding").t().reshape(patch.sizes()), patch), tolerance);
  check("time_embedding", seen.at("time_embedding"));
  check("time_projection", seen.at("time_projection"));
  check("head", seen.at("head"));
  for (int block = 0; block < fixture.config.num_layers; ++block) {
    std::vector<std::string> layers{"", ".self_attn", ".cross_attn", ".ffn"};
    if (fixture.image) layers.insert(layers.end(), {".attention.text", ".attention.image"});
    for (const std::string& layer : layers) {
      const std::string name = "blocks." + std::to_string(block) + layer;
      check(name, seen.at(name));
    }
  }
  if (fixture.image) check("img_emb", seen.at("img_emb"));
}

INSTANTIATE_TEST_SUITE_P(Cases, TransformerLayers,
                         testing::Values("i2v_landscape", "wan21_t2v", "wan21_i2v"));

TEST(ImageBranch, AndFeaturesGoTogether) {
  Fixture fixture("wan21_i2v");
  TextCondition prompt(fixture.parity.tensor("text.context"));
  const std::vector<TextCondition*> texts{&prompt};
  fixture.image.reset();
  EXPECT_THROW(fixture.forward(texts), Error);
}

/// TI2V-5B with an image: the first frame's tokens see timestep 0.
TEST(TwoTimesteps, EveryIntermediateTensor) {
  Fixture fixture("ti2v_image");
  ASSERT_EQ(fixture.known_tokens, 6);
  const at::Tensor times = fixture.parity.tensor("timesteps.tokens")[0];  // [18]
  EXPECT_TRUE(times.narrow(0, 0, 6).eq(0).all().item<bool>());
  EXPECT_TRUE(times.narrow(0, 6, 12).eq(fixture.timestep).all().item<bool>());
  std::map<std::string, std::vector<at::Tensor>, std::less<>> seen;
  TextCondition prompt(fixture.parity.tensor("text.context"));
  const std::vector<TextCondition*> texts{&prompt};
  fixture.forward(texts, [&](std::string_view name, const at::Tensor& value) {
    seen[std::string(name)].push_back(value.clone());
  });
  const auto expect_near = [&](const std::string& name, const at::Tensor& actual) {
    const at::Tensor expected = fixture.parity.tensor("dit." + name);
    EXPECT_LT(test::relative_error(actual.reshape(expected.sizes()), expected), tolerance) << name;
  };
  for (const std::string name : {"time_embedding", "time_projection"}) {
    ASSERT_EQ(seen[name].size(), 2U);
    const auto rows = [&](std::size_t time, std::int64_t tokens) {
      return seen[name][time].flatten().unsqueeze(0).expand({tokens, -1});
    };
    expect_near(name, at::cat({rows(0, 6), rows(1, 12)}));
  }
  const at::Tensor patch = fixture.parity.tensor("dit.patch_embedding");  // [1, dim, frames, rows, columns]
  EXPECT_LT(test::relative_error(seen["patch_embedding"].front().t().reshape(patch.sizes()), patch),
            tolerance);
  expect_near("head", seen["head"].front());
  for (int block = 0; block < fixture.config.num_layers; ++block) {
    for (const char* layer : {"", ".self_attn", ".cross_attn", ".ffn"}) {
      const std::string name = "blocks." + std::to_string(block) + layer;
      expect_near(name, seen[name].front());
    }
  }
}

TEST(TimeEmbedding, SinusoidAsTabulated) {
  const at::Tensor v = timestep_sinusoid(999, 256);
  const std::map<int, float> expected{{0, 0.999649853F},    {1, 0.963782479F},    {127, 0.994243164F},
                                      {128, -0.026460753F}, {129, -0.266689584F}, {255, 0.107147238F}};
  for (const auto& [index, value] : expected) EXPECT_NEAR(v[index].item<float>(), value, 1e-7) << index;
}

/// A timestep of the Lightning grid keeps its fraction, and its fp32 value is widened, not the decimal
/// number.
TEST(TimeEmbedding, AFractionalTimestepIsWidenedFromFp32) {
  constexpr float timestep = 833.333313F;
  const at::Tensor v = timestep_sinusoid(timestep, 256);
  EXPECT_EQ(v[0].item<float>(), static_cast<float>(std::cos(833.33331298828125)));
  EXPECT_EQ(v[128].item<float>(), static_cast<float>(std::sin(833.33331298828125)));
  EXPECT_NE(v[128].item<float>(), static_cast<float>(std::sin(2500.0 / 3.0)));
  EXPECT_GT((v - timestep_sinusoid(833, 256)).abs().max().item<float>(), 0.1);
}

TEST(Patchify, IsInvertedByUnpatchify) {
  const at::Tensor latent = at::randn({16, 3, 4, 6});
  EXPECT_TRUE(at::equal(unpatchify(patchify(latent), token_grid(3, 4, 6)), latent));
}

}  // namespace
}  // namespace wan::dit
