#include "dit/transformer.h"

#include <gtest/gtest.h>

#include "checkpoint/model_config.h"
#include "comm/local.h"
#include "dit/patchify.h"
#include "parallel/ulysses.h"
#include "parallel/unit_weights.h"
#include "support/parity_case.h"

namespace wan::dit {
namespace {

constexpr double tolerance = 1e-5;

/// One expert of a parity case with all its weights, and the inputs of step 0.
struct Fixture {
  explicit Fixture(const std::string& name, const std::vector<std::int64_t>& chunk_heads = {})
      : parity(test::load_parity_case(name)),
        files(checkpoint::Checkpoint::open_safetensors_folder(parity.folder / "ckpt/high_noise_model")),
        config(checkpoint::read_transformer_config(parity.folder / "ckpt/high_noise_model", files)),
        weights(std::make_shared<parallel::WeightShards>(
            checkpoint::transformer_units(config),
            [this](const checkpoint::Parameter& parameter, std::int64_t first, const at::Tensor& out) {
              files.read_floats(files.entry(parameter.name), first,
                                {out.data_ptr<float>(), static_cast<std::size_t>(out.numel())});
            },
            1, 0, kernels::Compute())),
        transformer(config, weights),
        alone(comm::make_local("ulysses")) {
    const at::Tensor noise = parity.tensor("noise");  // [16, frames, height, width]
    grid = token_grid(noise.size(1), noise.size(2), noise.size(3));
    at::Tensor input = noise;
    if (parity.expected.contains("vae.encoded")) {
      at::Tensor mask = at::zeros({4, noise.size(1), noise.size(2), noise.size(3)});
      mask.select(1, 0).fill_(1);
      input = at::cat({noise, mask, parity.tensor("vae.encoded")}, 0);
    }
    patches = patchify(input);
    const std::int64_t head_dim = config.dim / config.num_heads;
    exchange = std::make_unique<parallel::UlyssesExchange>(*alone, grid.tokens(), config.num_heads, head_dim,
                                                           kernels::Compute(), chunk_heads);
    rotary = kernels::make_rotary_table(grid, head_dim, 0, grid.tokens());
    timestep = static_cast<int>(parity.tensor("timesteps")[0].item<float>());
  }

  std::vector<at::Tensor> forward(std::span<TextCondition* const> texts, const Probe& probe = nullptr) {
    return transformer.forward(patches, timestep, texts,
                               {.exchange = *exchange, .rotary = rotary, .clock = clock, .probe = probe});
  }

  test::ParityCase parity;
  checkpoint::Checkpoint files;
  checkpoint::TransformerConfig config;
  parallel::ResidentWeights weights;
  Transformer transformer;
  std::unique_ptr<comm::Communicator> alone;
  kernels::TokenGrid grid;
  at::Tensor patches;
  std::unique_ptr<parallel::UlyssesExchange> exchange;
  kernels::RotaryTable rotary;
  PartClock clock;
  int timestep = 0;
};

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
                         testing::Values("i2v_landscape", "i2v_portrait_ragged", "t2v_square"));

TEST(TransformerLayers, EveryIntermediateTensor) {
  Fixture fixture("i2v_landscape");
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
    for (const char* layer : {"", ".self_attn", ".cross_attn", ".ffn"}) {
      const std::string name = "blocks." + std::to_string(block) + layer;
      check(name, seen.at(name));
    }
  }
}

TEST(TimeEmbedding, SinusoidOfTheSpec) {
  const at::Tensor v = timestep_sinusoid(999, 256);
  const std::map<int, float> expected{{0, 0.999649853F},    {1, 0.963782479F},    {127, 0.994243164F},
                                      {128, -0.026460753F}, {129, -0.266689584F}, {255, 0.107147238F}};
  for (const auto& [index, value] : expected) EXPECT_NEAR(v[index].item<float>(), value, 1e-7) << index;
}

TEST(Patchify, IsInvertedByUnpatchify) {
  const at::Tensor latent = at::randn({16, 3, 4, 6});
  EXPECT_TRUE(at::equal(unpatchify(patchify(latent), token_grid(3, 4, 6)), latent));
}

}  // namespace
}  // namespace wan::dit
