#include "media/lanczos.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <numbers>
#include <vector>

namespace wan::media {
namespace {

constexpr int channels = 3;
constexpr int fraction_bits = 22;  // of a weight: 8 bits of pixel and 2 of headroom fill 32 bits
constexpr double lobes = 3;

double sinc(double x) {
  if (x == 0) return 1;
  const double angle = x * std::numbers::pi;
  return std::sin(angle) / angle;
}

double lanczos(double x) { return -lobes <= x && x < lobes ? sinc(x) * sinc(x / lobes) : 0; }

/// Rounds towards zero, as Pillow does.
int truncated(double value) { return static_cast<int>(value); }

/// The input samples that make one output sample, and their integer weights.
struct Taps {
  std::size_t first = 0;
  std::vector<std::int32_t> weights;
};

/// One for each of `out` samples of an axis with `in` samples.
std::vector<Taps> make_taps(int in, int out) {
  const double ratio = static_cast<double>(in) / out;
  const double width = std::max(ratio, 1.0);  // of the filter, in input samples
  const double support = lobes * width;
  std::vector<Taps> taps(static_cast<std::size_t>(out));
  std::vector<double> exact;
  for (int i = 0; i < out; ++i) {
    const double center = (i + 0.5) * ratio;
    const int first = std::max(0, truncated(center - support + 0.5));
    const int end = std::min(in, truncated(center + support + 0.5));
    exact.clear();
    double sum = 0;
    for (int at = first; at < end; ++at) {
      exact.push_back(lanczos((at - center + 0.5) * (1.0 / width)));
      sum += exact.back();
    }
    Taps& made = taps[static_cast<std::size_t>(i)];
    made.first = static_cast<std::size_t>(first);
    for (const double weight : exact) {
      const double scaled = weight / sum * (1 << fraction_bits);
      made.weights.push_back(static_cast<std::int32_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5));
    }
  }
  return taps;
}

std::uint8_t to_pixel(std::int64_t sum) {
  return static_cast<std::uint8_t>(std::clamp<std::int64_t>(sum >> fraction_bits, 0, 255));
}

constexpr std::int64_t half = std::int64_t{1} << (fraction_bits - 1);

Image resize_rows(const Image& image, int width) {
  Image result{.width = width, .height = image.height, .rgb = {}};
  result.rgb.reserve(static_cast<std::size_t>(width) * static_cast<std::size_t>(image.height) * channels);
  const std::vector<Taps> taps = make_taps(image.width, width);
  const std::size_t row_bytes = static_cast<std::size_t>(image.width) * channels;
  for (std::size_t row = 0; row < image.rgb.size(); row += row_bytes) {
    for (const Taps& pixel : taps) {
      std::array<std::int64_t, channels> sums{half, half, half};
      const std::uint8_t* in = image.rgb.data() + row + pixel.first * channels;
      for (const std::int32_t weight : pixel.weights)
        for (std::int64_t& sum : sums) sum += std::int64_t{weight} * *in++;
      for (const std::int64_t sum : sums) result.rgb.push_back(to_pixel(sum));
    }
  }
  return result;
}

Image resize_columns(const Image& image, int height) {
  Image result{.width = image.width, .height = height, .rgb = {}};
  const std::size_t row_bytes = static_cast<std::size_t>(image.width) * channels;
  result.rgb.reserve(row_bytes * static_cast<std::size_t>(height));
  std::vector<std::int64_t> sums(row_bytes);
  for (const Taps& row : make_taps(image.height, height)) {
    std::ranges::fill(sums, half);
    const std::uint8_t* in = image.rgb.data() + row.first * row_bytes;
    for (const std::int32_t weight : row.weights)
      for (std::int64_t& sum : sums) sum += std::int64_t{weight} * *in++;
    std::ranges::transform(sums, std::back_inserter(result.rgb), to_pixel);
  }
  return result;
}

}  // namespace

Image resize_lanczos(const Image& image, PixelSize target) {
  Image result = image;
  if (target.width != image.width) result = resize_rows(result, target.width);
  if (target.height != image.height) result = resize_columns(result, target.height);
  result.transparency_dropped = image.transparency_dropped;
  return result;
}

}  // namespace wan::media
