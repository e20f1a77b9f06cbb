#pragma once

#include <ATen/core/Tensor.h>

#include "kernels/rotary.h"

namespace wan::dit {

inline constexpr std::int64_t patch_latents = 4;  ///< latent positions of a token: 1 x 2 x 2 (model.md 5.2)

/// The token grid of a latent [channels, frames, height, width]. Patches are 1 x 2 x 2 (model.md 5.2).
kernels::TokenGrid token_grid(std::int64_t latent_frames, std::int64_t latent_height,
                              std::int64_t latent_width);

/// [channels, frames, height, width] -> [tokens, channels * 4]. The features are ordered by channel, row and
/// column of the patch.
at::Tensor patchify(const at::Tensor& latent);

/// The inverse: [tokens, channels * 4] -> [channels, frames, height, width].
at::Tensor unpatchify(const at::Tensor& tokens, const kernels::TokenGrid& grid);

/// Reorders the head's features, which are ordered row, column, channel (model.md 5.7), into patchify's
/// order. Input and output are [tokens, 4 * channels].
at::Tensor head_to_patch_order(const at::Tensor& head);

}  // namespace wan::dit
