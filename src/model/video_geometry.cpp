#include "model/video_geometry.h"

namespace wan::model {

std::int64_t VideoGeometry::latent_frames(int frame_num) const {
  return (frame_num - 1) / frames_per_latent + 1;
}

std::array<std::int64_t, 4> VideoGeometry::latent_shape(std::int64_t channels, int frame_num,
                                                        PixelSize size) const {
  return {channels, latent_frames(frame_num), size.height / pixels_per_latent,
          size.width / pixels_per_latent};
}

TokenGrid VideoGeometry::token_grid(int frame_num, PixelSize size) const {
  return {.frames = latent_frames(frame_num),
          .rows = size.height / pixels_per_token(),
          .columns = size.width / pixels_per_token()};
}

std::int64_t VideoGeometry::frame_pixels(const TokenGrid& grid) const {
  return grid.rows * grid.columns * pixels_per_token() * pixels_per_token();
}

std::int64_t VideoGeometry::frame_num(const TokenGrid& grid) const {
  return frames_per_latent * (grid.frames - 1) + 1;
}

}  // namespace wan::model
