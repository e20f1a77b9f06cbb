#pragma once

#include "comm/local.h"
#include "dit/patchify.h"
#include "dit/transformer.h"
#include "engine/model_parts.h"
#include "parallel/ulysses.h"
#include "parallel/unit_weights.h"
#include "support/parity_case.h"

namespace wan::test {

/// One expert of a parity case with all its weights, and the inputs of step 0.
struct Fixture {
  explicit Fixture(const std::string& name, const std::vector<std::int64_t>& chunk_heads = {},
                   kernels::Compute compute = {})
      : parity(load_parity_case(name)),
        expert(engine::open_expert(expert_folder(parity.folder / "ckpt"))),
        config(expert.config),
        weights(std::make_shared<parallel::WeightShards>(
            checkpoint::transformer_units(config), engine::expert_model(Expert::high_noise, expert).read, 1,
            0, compute)),
        transformer(config, weights),
        alone(comm::make_local("ulysses")) {
    const at::Tensor noise = parity.tensor("noise");  // [16, frames, height, width]
    grid = dit::token_grid(noise.size(1), noise.size(2), noise.size(3));
    at::Tensor input = noise;
    const bool is_ti2v = parity.expected.contains("timesteps.tokens");
    if (is_ti2v && parity.expected.contains("vae.encoded")) {
      input = noise.clone();
      input.narrow(1, 0, 1).copy_(parity.tensor("vae.encoded"));
      known_tokens = grid.rows * grid.columns;
    } else if (parity.expected.contains("vae.encoded")) {
      at::Tensor mask = at::zeros({4, noise.size(1), noise.size(2), noise.size(3)});
      mask.select(1, 0).fill_(1);
      input = at::cat({noise, mask, parity.tensor("vae.encoded")}, 0);
    }
    patches = dit::patchify(input);
    const std::int64_t head_dim = config.dim / config.num_heads;
    exchange = std::make_unique<parallel::UlyssesExchange>(*alone, grid.tokens(), config.num_heads, head_dim,
                                                           compute, chunk_heads);
    rotary = kernels::make_rotary_table(grid, head_dim, 0, grid.tokens());
    if (config.image_dim > 0) image.emplace(parity.tensor("clip.features"));
    timestep = parity.tensor("timesteps")[0].item<float>();
  }

  std::vector<at::Tensor> forward(std::span<dit::TextCondition* const> texts,
                                  const dit::Probe& probe = nullptr) {
    return transformer.forward(patches, timestep, texts,
                               {.exchange = *exchange,
                                .rotary = rotary,
                                .clock = clock,
                                .probe = probe,
                                .times = {.known_tokens = known_tokens},
                                .image = image ? &*image : nullptr});
  }

  /// A model with one expert has it in the checkpoint's root.
  static std::filesystem::path expert_folder(const std::filesystem::path& checkpoint) {
    return std::filesystem::exists(checkpoint / "config.json") ? checkpoint : checkpoint / "high_noise_model";
  }

  ParityCase parity;
  engine::ExpertFiles expert;
  checkpoint::TransformerConfig config;
  parallel::ResidentWeights weights;
  dit::Transformer transformer;
  std::unique_ptr<comm::Communicator> alone;
  kernels::TokenGrid grid;
  at::Tensor patches;
  std::unique_ptr<parallel::UlyssesExchange> exchange;
  kernels::RotaryTable rotary;
  std::optional<dit::ImageContext> image;  ///< of a case with an image branch
  PartClock clock;
  float timestep = 0;
  std::int64_t known_tokens = 0;  ///< of the clean first frame
};

}  // namespace wan::test
