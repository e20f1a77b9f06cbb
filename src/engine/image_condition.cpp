#include "engine/image_condition.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "media/lanczos.h"
#include "media/video.h"

namespace wan::engine {
namespace {

/// A side in pixels. Written in this order of operations: results at exact boundaries depend on the rounding
/// (model.md 7.2).
int side_pixels(double area_times_ratio, const model::VideoGeometry& geometry) {
  const double latents = std::floor(std::sqrt(area_times_ratio) / geometry.pixels_per_latent);
  return geometry.pixels_per_token() * static_cast<int>(std::floor(latents / geometry.latents_per_token));
}

void require_possible(PixelSize image, PixelSize size, PixelSize result,
                      const model::VideoGeometry& geometry) {
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
}

/// The largest multiple of `step` in a number, or 0 of one that is not finite.
int floored(double value, int step) {
  return std::isfinite(value) ? static_cast<int>(std::floor(value / step)) * step : 0;
}

/// How far two ratios of width to height are apart: 1 if they are equal.
double distortion(double one, double other) { return std::max(one / other, other / one); }

/// [height, width, 3] bytes as fp32 [3, height, width] in -1..1.
at::Tensor to_pixels(const at::Tensor& bytes) {
  return bytes.permute({2, 0, 1}).to(at::kFloat).div(255).sub(0.5).div(0.5);
}

at::Tensor bytes_of(const media::Image& image) {
  at::Tensor bytes = at::empty({image.height, image.width, 3}, at::kByte);
  std::ranges::copy(image.rgb, bytes.data_ptr<std::uint8_t>());
  return bytes;
}

}  // namespace

PixelSize fit_to_area(PixelSize image, PixelSize size, const model::VideoGeometry& geometry) {
  const double area = static_cast<double>(size.width) * size.height;
  const double ratio = static_cast<double>(image.height) / image.width;
  const PixelSize result{.width = side_pixels(area / ratio, geometry),
                         .height = side_pixels(area * ratio, geometry)};
  require_possible(image, size, result, geometry);
  return result;
}

FrameFit fit_first_frame(PixelSize image, PixelSize size, const model::VideoGeometry& geometry) {
  const int step = geometry.pixels_per_token();
  const double area = static_cast<double>(size.width) * size.height;
  const double ratio = static_cast<double>(image.width) / image.height;
  const double width = std::sqrt(area * ratio);
  const double height = area / width;
  // One candidate keeps the width, the other the height. The one that distorts less is taken.
  const int first_width = floored(width, step);
  const PixelSize first{.width = first_width, .height = floored(area / first_width, step)};
  const int second_height = floored(height, step);
  const PixelSize second{.width = floored(area / second_height, step), .height = second_height};
  const auto distortion_of = [&](PixelSize candidate) {
    return distortion(ratio, static_cast<double>(candidate.width) / candidate.height);
  };
  for (const PixelSize& candidate : {first, second}) require_possible(image, size, candidate, geometry);
  const PixelSize frame = distortion_of(first) < distortion_of(second) ? first : second;
  const double scale = std::max(static_cast<double>(frame.width) / image.width,
                                static_cast<double>(frame.height) / image.height);
  // nearbyint() rounds halves to even, as the official code does.
  FrameFit fit{.resized = {.width = static_cast<int>(std::nearbyint(image.width * scale)),
                           .height = static_cast<int>(std::nearbyint(image.height * scale))},
               .crop_x = 0,
               .crop_y = 0,
               .frame = frame};
  fit.crop_x = (fit.resized.width - frame.width) / 2;
  fit.crop_y = (fit.resized.height - frame.height) / 2;
  return fit;
}

at::Tensor first_frame(const media::Image& image, const FrameFit& fit) {
  const at::Tensor cut = bytes_of(media::resize_lanczos(image, fit.resized))
                             .narrow(0, fit.crop_y, fit.frame.height)
                             .narrow(1, fit.crop_x, fit.frame.width);
  return to_pixels(cut).contiguous();
}

at::Tensor resize_image(const media::Image& image, PixelSize target) {
  const at::Tensor pixels = to_pixels(bytes_of(image));  // [3, height, width]
  return at::upsample_bicubic2d(pixels.unsqueeze(0), {target.height, target.width}, /*align_corners=*/false)
      .squeeze(0);
}

}  // namespace wan::engine
