#include "dit/patchify.h"

#include <ATen/ATen.h>

namespace wan::dit {

kernels::TokenGrid token_grid(std::int64_t latent_frames, std::int64_t latent_height,
                              std::int64_t latent_width) {
  return {.frames = latent_frames, .rows = latent_height / 2, .columns = latent_width / 2};
}

at::Tensor patchify(const at::Tensor& latent) {
  const kernels::TokenGrid grid = token_grid(latent.size(1), latent.size(2), latent.size(3));
  return latent
      .reshape({latent.size(0), grid.frames, grid.rows, 2, grid.columns, 2})  // [c, t, i, di, j, dj]
      .permute({1, 2, 4, 0, 3, 5})                                            // [t, i, j, c, di, dj]
      .reshape({grid.tokens(), latent.size(0) * 4});
}

at::Tensor unpatchify(const at::Tensor& tokens, const kernels::TokenGrid& grid) {
  const std::int64_t channels = tokens.size(1) / 4;
  return tokens
      .reshape({grid.frames, grid.rows, grid.columns, channels, 2, 2})  // [t, i, j, c, di, dj]
      .permute({3, 0, 1, 4, 2, 5})                                      // [c, t, i, di, j, dj]
      .reshape({channels, grid.frames, grid.rows * 2, grid.columns * 2})
      .contiguous();  // one token in a frame: reshape() returns a view
}

at::Tensor head_to_patch_order(const at::Tensor& head) {
  return head.unflatten(1, {4, -1})
      .transpose(1, 2)
      .flatten(1);  // [tokens, (di dj), c] -> [tokens, c, (di dj)]
}

}  // namespace wan::dit
