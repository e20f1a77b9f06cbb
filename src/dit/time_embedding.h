#pragma once

#include <vector>

#include "dit/weights.h"

namespace wan::dit {

/// The effect of a timestep, the same for every token that sees it (model.md 5.3), fp32.
struct TimeEmbedding {
  at::Tensor embedding;   ///< `e`, [dim]: modulates the head
  at::Tensor projection;  ///< `e0`, [6, dim]: modulates the blocks
};

/// cos and sin of the timestep at freq_dim / 2 frequencies, fp32 [freq_dim], computed in fp64.
at::Tensor timestep_sinusoid(float timestep, std::int64_t freq_dim);

/// One for each timestep.
std::vector<TimeEmbedding> embed_timesteps(const StemWeights& weights, const std::vector<float>& timesteps);

}  // namespace wan::dit
