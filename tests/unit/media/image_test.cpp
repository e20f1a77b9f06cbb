#include "media/image.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>

#include "image_files.h"

namespace wan::media {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;

constexpr int width = 37;
constexpr int height = 29;

using Colour = std::array<int, 3>;

/// picture() of tests/data/images/make_images.py.
Colour picture(int x, int y) {
  const int slope = x * 7;
  return {(x / 8 + y / 8) % 2 == 1 ? 255 - slope : slope, y * 8, x * 3 + y * 4};
}

Colour at(const Image& image, int x, int y) {
  const std::size_t first =
      3 * (static_cast<std::size_t>(y) * static_cast<std::size_t>(image.width) + static_cast<std::size_t>(x));
  return {image.rgb.at(first), image.rgb.at(first + 1), image.rgb.at(first + 2)};
}

template <typename Expected>
void expect_pixels(const Image& image, Expected expected) {
  ASSERT_EQ(image.width, width);
  ASSERT_EQ(image.height, height);
  ASSERT_EQ(image.rgb.size(), 3U * width * height);
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) ASSERT_EQ(at(image, x, y), expected(x, y)) << x << ", " << y;
  }
}

class ExactImage : public testing::TestWithParam<const char*> {};

TEST_P(ExactImage, HasTheVeryPixels) { expect_pixels(read_image(data(GetParam())), picture); }

INSTANTIATE_TEST_SUITE_P(Formats, ExactImage,
                         testing::Values("rgb.png", "rgba.png", "rgb16.png", "interlaced.png", "rgb.bmp",
                                         "rgba_lossless.webp"),
                         [](const auto& test_info) {
                           std::string name = test_info.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

TEST(Image, GrayAndPalettesBecomeRgb) {
  const auto red_only = [](int x, int y) {
    const int value = picture(x, y)[0];
    return Colour{value, value, value};
  };
  expect_pixels(read_image(data("gray.png")), red_only);
  expect_pixels(read_image(data("gray16.png")), red_only);
  const auto index = [](int x, int y) { return (x + 3 * y) % 16; };
  expect_pixels(read_image(data("gray4.png")), [&](int x, int y) {
    const int value = index(x, y) * 17;
    return Colour{value, value, value};
  });
  for (const char* name : {"palette.png", "palette.bmp"}) {
    expect_pixels(read_image(data(name)), [&](int x, int y) {
      return Colour{17 * index(x, y), 255 - 17 * index(x, y), 3 * index(x, y)};
    });
  }
}

struct LossyCase {
  const char* name;
  int max_difference;
  double mean_difference;
};

class LossyImage : public testing::TestWithParam<LossyCase> {};

TEST_P(LossyImage, IsWhatTheReferenceDecoderGives) {
  const Image image = read_image(data(GetParam().name));
  const Image expected = read_image(data(std::string(GetParam().name) + ".expected.png"));
  ASSERT_EQ(image.rgb.size(), expected.rgb.size());
  int largest = 0;
  double sum = 0;
  for (std::size_t i = 0; i < image.rgb.size(); ++i) {
    const int difference = std::abs(int{image.rgb[i]} - int{expected.rgb[i]});
    largest = std::max(largest, difference);
    sum += difference;
  }
  EXPECT_LE(largest, GetParam().max_difference);
  EXPECT_LE(sum / static_cast<double>(image.rgb.size()), GetParam().mean_difference);
}

INSTANTIATE_TEST_SUITE_P(Formats, LossyImage,
                         testing::Values(LossyCase{"420.jpg", 3, 0.2}, LossyCase{"422.jpg", 3, 0.3},
                                         LossyCase{"444.jpg", 3, 0.1}, LossyCase{"progressive.jpg", 3, 0.2},
                                         LossyCase{"lossy.webp", 1, 0.05}),
                         [](const auto& test_info) {
                           std::string name = test_info.param.name;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

/// The position of the stored pixel that a viewer shows at (x, y).
std::array<int, 2> stored_place(int orientation, int x, int y) {
  switch (orientation) {
    case 2:
      return {width - 1 - x, y};
    case 3:
      return {width - 1 - x, height - 1 - y};
    case 4:
      return {x, height - 1 - y};
    case 5:
      return {y, x};
    case 6:
      return {y, height - 1 - x};
    case 7:
      return {width - 1 - y, height - 1 - x};
    case 8:
      return {width - 1 - y, x};
    default:
      return {x, y};
  }
}

void expect_shown(const std::string& file, const Image& stored, int orientation) {
  const test::TempDir dir;
  write_bytes(dir / "turned", file);
  const Image shown = read_image(dir / "turned");
  const bool swapped = orientation >= 5 && orientation <= 8;
  ASSERT_EQ(shown.width, swapped ? height : width);
  ASSERT_EQ(shown.height, swapped ? width : height);
  EXPECT_EQ(probe_image(dir / "turned"), (PixelSize{shown.width, shown.height}));
  for (int y = 0; y < shown.height; ++y) {
    for (int x = 0; x < shown.width; ++x) {
      const auto [column, row] = stored_place(orientation, x, y);
      ASSERT_EQ(at(shown, x, y), at(stored, column, row)) << orientation << ": " << x << ", " << y;
    }
  }
}

TEST(Image, ExifOrientationIsApplied) {
  const std::string jpeg = bytes_of("420.jpg");
  const std::string png = bytes_of("rgb.png");
  const Image stored_jpeg = read_image(data("420.jpg"));
  const Image stored_png = read_image(data("rgb.png"));
  constexpr std::size_t png_header_bytes = 8 + 25;
  for (int orientation = 0; orientation <= 9; ++orientation) {  // 0 and 9 have no meaning
    const std::string exif = exif_block(static_cast<char>(orientation), orientation % 2 == 0);
    const std::string segment = "Exif\0\0"s + exif;
    const std::string app1 = "\xFF\xE1\0"s + static_cast<char>(segment.size() + 2) + segment;
    expect_shown(jpeg.substr(0, 2) + app1 + jpeg.substr(2), stored_jpeg, orientation);
    const std::string chunk = "\0\0\0"s + static_cast<char>(exif.size()) + "eXIf" + exif + "crc?";
    expect_shown(png.substr(0, png_header_bytes) + chunk + png.substr(png_header_bytes), stored_png,
                 orientation);
  }
}

/// If a file lacks only the bytes after its pixels, all pixels are there.
TEST(Image, ATruncatedFileIsAnErrorOrHasAllPixels) {
  for (const char* name :
       {"rgb.png", "interlaced.png", "420.jpg", "progressive.jpg", "lossy.webp", "rgba_lossless.webp",
        "rgb.bmp", "palette.bmp", "interlaced.gif", "small_frame.webp", "lzw.tiff"}) {
    const std::string whole = bytes_of(name);
    const Image image = read_image(data(name));
    const std::size_t step = std::max<std::size_t>(1, whole.size() / 40);
    for (std::size_t length = 0; length < whole.size(); length += step) {
      const std::string_view part = std::string_view(whole).substr(0, length);
      if (reason_for_bytes(part) != "was read") continue;
      ASSERT_EQ(image_of_bytes(part).rgb, image.rgb) << name << " at " << length;
      ASSERT_GT(length, whole.size() / 2) << name;
    }
  }
}

TEST(Image, AJpegWithoutItsEndIsAnError) {
  for (const char* name : {"420.jpg", "progressive.jpg"}) {
    const std::string whole = bytes_of(name);
    EXPECT_THAT(reason_for_bytes(whole.substr(0, whole.size() - 1)), HasSubstr("is a truncated JPEG file"))
        << name;
  }
}

TEST(Image, MissingRowsInsideAWholeFileAreAnError) {
  EXPECT_THAT(reason_for(data("rows_missing.png")), HasSubstr("is a damaged or truncated PNG file"));
}

TEST(Image, AFlippedBitInAPngIsAnError) {
  std::string png = bytes_of("rgb.png");
  png[png.size() / 2] = static_cast<char>(png[png.size() / 2] ^ 1);
  EXPECT_THAT(reason_for_bytes(png), HasSubstr("damaged"));
}

TEST(Image, DamagedBytesNeverCrash) {
  unsigned state = 1;
  const auto random = [&state] { return (state = state * 1664525U + 1013904223U) >> 8U; };
  for (const char* name : {"rgb.png", "420.jpg", "progressive.jpg", "lossy.webp", "rgba_lossless.webp",
                           "palette.bmp", "interlaced.gif", "lzw.tiff", "small_frame.webp", "ycck.jpg"}) {
    const std::string whole = bytes_of(name);
    for (int round = 0; round < 60; ++round) {
      std::string damaged = whole;
      for (int i = 0; i < 4; ++i) damaged[random() % damaged.size()] = static_cast<char>(random());
      const test::TempDir dir;
      write_bytes(dir / "image", damaged);
      try {
        const Image image = read_image(dir / "image", {.pixels = 1'000'000});
        EXPECT_EQ(image.rgb.size(),
                  3U * static_cast<unsigned>(image.width) * static_cast<unsigned>(image.height));
      } catch (const ItemError& error) {
        EXPECT_EQ(error.stage(), "image");
      }
    }
  }
}

TEST(Image, SaysWhatTheFileIsInstead) {
  EXPECT_THAT(reason_for_bytes(""), HasSubstr("is empty (0 bytes)"));
  EXPECT_THAT(reason_for_bytes("a cat on a beach"),
              HasSubstr("is not an image; PNG, JPEG, WebP, BMP, GIF and TIFF images are read"));
  EXPECT_THAT(reason_for_bytes("GIF89a"), HasSubstr("is a truncated GIF file"));
  EXPECT_THAT(reason_for_bytes("MM\0+\0\x08\0\0"s), HasSubstr("is a BigTIFF file"));
  EXPECT_THAT(reason_for_bytes("version https://git-lfs.github.com/spec/v1\n"), HasSubstr("git lfs pull"));
  EXPECT_THAT(reason_for_bytes("<!DOCTYPE html><html>"), HasSubstr("is an HTML page"));
  EXPECT_THAT(reason_for_bytes("#EXTM3U\nfile:///etc/passwd\n"), HasSubstr("is not an image"));
}

TEST(Image, RefusesWhatIsNoRegularFile) {
  const test::TempDir dir;
  EXPECT_THAT(reason_for(dir / "none.png"), HasSubstr("No such file or directory"));
  EXPECT_THAT(reason_for(dir.path()), HasSubstr("is not a regular file"));
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_THAT(reason_for(dir / "pipe"), HasSubstr("is not a regular file"));
}

TEST(Image, LimitsHoldBeforeAnythingIsDecoded) {
  EXPECT_THAT(reason_for(data("bomb.png")),
              HasSubstr("is 50000x50000 pixels; at most 65535 a side and 178956970 in all"));
  EXPECT_THAT(reason_for(data("rgb.png"), {.pixels = std::int64_t{width} * height - 1}),
              HasSubstr("is 37x29 pixels"));
  EXPECT_EQ(reason_for(data("rgb.png"), {.pixels = std::int64_t{width} * height}), "was read");
  EXPECT_THAT(reason_for(data("rgb.png"), {.file_bytes = 10}), HasSubstr("images up to 10 bytes are read"));
  EXPECT_THROW(probe_image(data("bomb.png")), ItemError);
}

TEST(Image, ProbeReadsTheSizeOfEveryFormat) {
  for (const char* name : {"rgb.png", "420.jpg", "lossy.webp", "rgba_lossless.webp", "rgb.bmp"}) {
    EXPECT_EQ(probe_image(data(name)), (PixelSize{width, height})) << name;
  }
}

}  // namespace
}  // namespace wan::media
