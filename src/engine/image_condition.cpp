#include "engine/image_condition.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "media/video.h"

namespace wan::engine {
namespace {

/// A side in pixels. Written in this order of operations: results at exact boundaries depend on the rounding
/// (model.md 7.2).
int side_pixels(double area_times_ratio, const model::VideoGeometry& geometry) {
  const double latents = std::floor(std::sqrt(area_times_ratio) / geometry.pixels_per_latent);
  return geometry.pixels_per_token() * static_cast<int>(std::floor(latents / geometry.latents_per_token));
}

}  // namespace

PixelSize fit_to_area(PixelSize image, PixelSize size, const model::VideoGeometry& geometry) {
  const double area = static_cast<double>(size.width) * size.height;
  const double ratio = static_cast<double>(image.height) / image.width;
  const PixelSize result{.width = side_pixels(area / ratio, geometry),
                         .height = side_pixels(area * ratio, geometry)};
  if (result.width < 1 || result.height < 1) {
    fail_item("image",
              "an image of {}x{} at the area of size {}*{} leaves no room on the latent grid of {} pixels; "
              "use a larger size",
              image.width, image.height, size.width, size.height, geometry.pixels_per_token());
  }
  constexpr int largest = media::largest_video_side_pixels;
  if (result.width > largest || result.height > largest) {
    fail_item("image",
              "an image of {}x{} at the area of size {}*{} makes a video of {}x{}; the sides of a video have "
              "at most {} pixels. Crop the image to a common shape, or use a smaller size",
              image.width, image.height, size.width, size.height, result.width, result.height, largest);
  }
  return result;
}

at::Tensor resize_image(const media::Image& image, PixelSize target) {
  const at::Tensor bytes = at::empty({image.height, image.width, 3}, at::kByte);
  std::ranges::copy(image.rgb, bytes.data_ptr<std::uint8_t>());
  const at::Tensor pixels =
      bytes.permute({2, 0, 1}).to(at::kFloat).div(255).sub(0.5).div(0.5);  // [3, height, width]
  return at::upsample_bicubic2d(pixels.unsqueeze(0), {target.height, target.width}, /*align_corners=*/false)
      .squeeze(0);
}

}  // namespace wan::engine
