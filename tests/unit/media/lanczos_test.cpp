#include "media/lanczos.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace wan::media {
namespace {

/// Pixels of a linear congruential generator.
Image noise(PixelSize size) {
  Image image{.width = size.width, .height = size.height, .rgb = {}};
  std::uint32_t state = 12345;
  for (int i = 0; i < size.width * size.height * 3; ++i) {
    state = state * 1664525U + 1013904223U;
    image.rgb.push_back(static_cast<std::uint8_t>(state >> 24U));
  }
  return image;
}

/// FNV-1a.
std::uint64_t hash(const std::vector<std::uint8_t>& bytes) {
  std::uint64_t value = 0xcbf29ce484222325;
  for (const std::uint8_t byte : bytes) value = (value ^ byte) * 0x100000001b3;
  return value;
}

/// Hashes of Pillow 13.0.0's resize(..., LANCZOS) of the same pixels, first to the width, then to the height.
struct Case {
  PixelSize from, to;
  std::uint64_t expected;
};
class Lanczos : public testing::TestWithParam<Case> {};

TEST_P(Lanczos, AsPillow) {
  const Image made = resize_lanczos(noise(GetParam().from), GetParam().to);
  EXPECT_EQ(made.width, GetParam().to.width);
  EXPECT_EQ(made.height, GetParam().to.height);
  EXPECT_EQ(hash(made.rgb), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Sizes, Lanczos,
                         testing::Values(Case{{250, 130}, {123, 64}, 0x964b302600f4ec47},
                                         Case{{60, 40}, {90, 60}, 0xd7ab99cf819de3b6},
                                         Case{{64, 48}, {64, 20}, 0x7de9c2dc3d6c95d5},
                                         Case{{31, 17}, {47, 17}, 0xa9da1f071c235f50},
                                         Case{{97, 53}, {40, 80}, 0x93ff6cb72ab3446e},
                                         Case{{300, 20}, {13, 33}, 0x049ad18106099dc1},
                                         Case{{40, 90}, {33, 70}, 0x828d584c24781238},
                                         Case{{5, 3}, {64, 32}, 0x75651f1ba9e17e01},
                                         Case{{1, 1}, {8, 8}, 0x086e56138135f325}));

TEST(LanczosResize, EqualSizeIsTheIdentity) {
  const Image image = noise({7, 5});
  EXPECT_EQ(resize_lanczos(image, {7, 5}).rgb, image.rgb);
}

}  // namespace
}  // namespace wan::media
