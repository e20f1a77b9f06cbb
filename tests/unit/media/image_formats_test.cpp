// Kinds of files that cameras, scanners and programs write, each as Pillow reads it.
#include <algorithm>
#include <ctime>

#include "core/check.h"
#include "image_files.h"

namespace wan::media {
namespace {

using namespace std::string_literals;
using testing::HasSubstr;

class PillowImage : public testing::TestWithParam<const char*> {};

TEST_P(PillowImage, IsReadWithinThreeLevels) {
  const Image image = read_image(data(GetParam()));
  const Image expected = read_image(data(std::string(GetParam()) + ".expected.png"));
  EXPECT_EQ(probe_image(data(GetParam())), (PixelSize{image.width, image.height}));
  ASSERT_EQ(image.width, expected.width);
  ASSERT_EQ(image.height, expected.height);
  int largest = 0;
  for (std::size_t i = 0; i < image.rgb.size(); ++i) {
    largest = std::max(largest, std::abs(int{image.rgb[i]} - int{expected.rgb[i]}));
  }
  EXPECT_LE(largest, 3);
}

INSTANTIATE_TEST_SUITE_P(Files, PillowImage,
                         testing::Values("interlaced.gif", "animated.gif", "small_frame.gif", "lzw.tiff",
                                         "cmyk.tiff", "fax.tiff", "transparent.tiff", "turned.tiff",
                                         "xmp.tiff", "small_frame.webp", "lossy_animation.webp",
                                         "black.cmyk.jpg", "no_adobe.cmyk.jpg", "ycck.jpg", "junk.jpg",
                                         "xmp.jpg", "tall.jpg"),
                         [](const auto& test_info) {
                           std::string name = test_info.param;
                           std::ranges::replace(name, '.', '_');
                           return name;
                         });

std::string big32(std::size_t value) {
  std::string bytes;
  for (int shift = 24; shift >= 0; shift -= 8)
    bytes += static_cast<char>(value >> static_cast<unsigned>(shift));
  return bytes;
}

/// A chunk of a PNG file with a checksum that nothing checks.
std::string chunk(const std::string& type, const std::string& data) {
  return big32(data.size()) + type + data + "crc?";
}

std::string png_with(const std::string& chunks) {
  constexpr std::size_t signature_and_header_bytes = 8 + 25;
  const std::string png = bytes_of("rgb.png");
  return png.substr(0, signature_and_header_bytes) + chunks + png.substr(signature_and_header_bytes);
}

/// A zlib stream that stores the text without compression.
std::string stored(const std::string& text) {
  std::uint32_t low = 1;
  std::uint32_t high = 0;
  for (const char c : text) {
    low = (low + static_cast<unsigned char>(c)) % 65521;
    high = (high + low) % 65521;
  }
  const auto size = static_cast<std::uint16_t>(text.size());
  const auto little16 = [](unsigned value) {
    return std::string{static_cast<char>(value & 0xFFU), static_cast<char>(value >> 8U & 0xFFU)};
  };
  return "\x78\x01\x01"s + little16(size) + little16(~size & 0xFFFFU) + text + big32(high << 16U | low);
}

/// The beginning of a zlib stream (RFC 1951, 3.2.6) that becomes 150 times as long: a letter, and copies of
/// it.
std::string swelling_stream(int copies) {
  std::string bytes = "\x78\x01"s;
  unsigned bits = 0;
  const auto append = [&](unsigned code, int length) {
    for (int i = length - 1; i >= 0; --i) {
      if (bits % 8 == 0) bytes.push_back('\0');
      bytes.back() =
          static_cast<char>(static_cast<unsigned char>(bytes.back()) | (code >> i & 1U) << bits % 8);
      ++bits;
    }
  };
  append(0b110, 3);                                              // the last block, of fixed codes
  append(0b10010001, 8);                                         // 'a'
  for (int i = 0; i < copies; ++i) append(0b1100010100000, 13);  // 258 bytes, from one byte before
  return bytes;
}

std::string raw_profile(const std::string& bytes) {
  std::string text = "\nexif\n" + std::to_string(bytes.size());
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    if (i % 36 == 0) text += '\n';
    text += fmt::format("{:02x}", static_cast<unsigned char>(bytes[i]));
  }
  return text + "\n";
}

std::string xmp(int orientation) {
  return fmt::format(R"(<rdf:Description tiff:Orientation="{}"/>)", orientation);
}

bool is_turned(const std::string& png) {
  const Image image = image_of_bytes(png);
  return image.height > image.width;
}

TEST(Orientation, IsFoundInEveryPlaceOfAPng) {
  const std::string exif = "Exif\0\0"s + exif_block(6, false);
  const std::string key = "Raw profile type exif\0"s;
  const std::string xmp_key = "XML:com.adobe.xmp\0"s;
  const std::string element = "<a><tiff:Orientation>5</tiff:Orientation></a>";
  EXPECT_FALSE(is_turned(bytes_of("rgb.png")));
  EXPECT_TRUE(is_turned(png_with(chunk("eXIf", exif))));
  EXPECT_TRUE(is_turned(png_with(chunk("tEXt", key + raw_profile(exif)))));
  EXPECT_TRUE(is_turned(png_with(chunk("zTXt", key + "\0"s + stored(raw_profile(exif))))));
  EXPECT_TRUE(is_turned(png_with(chunk("iTXt", key + "\0\0\0\0"s + raw_profile(exif)))));
  EXPECT_TRUE(is_turned(png_with(chunk("iTXt", xmp_key + "\0\0\0\0"s + xmp(8)))));
  EXPECT_TRUE(is_turned(png_with(chunk("iTXt", xmp_key + "\1\0\0\0"s + stored(element)))));
  EXPECT_FALSE(is_turned(png_with(chunk("iTXt", "Comment\0\0\0\0\0"s + xmp(8)))));
  for (const char* broken : {"", "\n", "\nexif\n12\n4d4d002", "\nexif\nzz\nzz"}) {
    EXPECT_FALSE(is_turned(png_with(chunk("tEXt", key + broken)))) << broken;
  }
  EXPECT_FALSE(is_turned(png_with(chunk("zTXt", key + "\0not zlib"s))));
}

TEST(Orientation, OnlyTheLastOfManyTextsIsRead) {
  const std::string exif = "Exif\0\0"s;
  const std::string key = "Raw profile type exif\0\0"s;
  const std::string xmp_key = "XML:com.adobe.xmp\0\1\0\0\0"s;
  const std::string turned = chunk("zTXt", key + stored(raw_profile(exif + exif_block(6, false))));
  const std::string plain = chunk("zTXt", key + stored(raw_profile(exif + exif_block(1, false))));
  EXPECT_TRUE(is_turned(png_with(plain + turned)));
  EXPECT_FALSE(is_turned(png_with(turned + plain)));
  const std::string xmp_turned = chunk("iTXt", xmp_key + stored(xmp(6)));
  const std::string xmp_plain = chunk("iTXt", xmp_key + stored(xmp(1)));
  EXPECT_TRUE(is_turned(png_with(xmp_plain + xmp_turned)));
  EXPECT_FALSE(is_turned(png_with(xmp_turned + xmp_plain)));
  std::string many;
  const std::string swelling = swelling_stream(25'000);  // to 6 MB
  for (int i = 0; i < 250; ++i) many += chunk("zTXt", key + swelling) + chunk("iTXt", xmp_key + swelling);
  const std::clock_t begin = std::clock();
  EXPECT_TRUE(is_turned(png_with(many + turned + xmp_turned)));
  EXPECT_LT(std::clock() - begin, 2 * CLOCKS_PER_SEC) << "each was decompressed";
}

TEST(Orientation, MayBeAnyWholeNumber) {
  for (const char type : {3, 4, 8, 9}) {
    EXPECT_TRUE(is_turned(png_with(chunk("eXIf", exif_block(6, true, type))))) << int{type};
  }
  EXPECT_TRUE(is_turned(png_with(chunk("eXIf", exif_block(6, false, 4)))));
  // BYTE: Pillow does not accept it either
  EXPECT_FALSE(is_turned(png_with(chunk("eXIf", exif_block(6, true, 1)))));
}

TEST(Orientation, ExifDecidesBeforeXmp) {
  const std::string packet = chunk("iTXt", "XML:com.adobe.xmp\0\0\0\0\0"s + xmp(8));
  for (const char orientation : {0, 1, 3, 9}) {
    EXPECT_FALSE(is_turned(png_with(chunk("eXIf", exif_block(orientation, true)) + packet)))
        << int{orientation};
  }
}

TEST(Image, APngMayLackItsEndChunk) {
  const std::string png = bytes_of("rgb.png");
  const Image whole = read_image(data("rgb.png"));
  for (std::size_t lost = 1; lost <= 16; ++lost) {  // the end chunk and the checksum of the data before it
    EXPECT_EQ(image_of_bytes(png.substr(0, png.size() - lost)).rgb, whole.rgb) << lost;
  }
  EXPECT_NE(reason_for_bytes(png.substr(0, png.size() - 60)), "was read");
}

TEST(Image, TransparencyIsDroppedAndSaid) {
  for (const char* name : {"rgba.png", "rgba_lossless.webp", "small_frame.gif", "transparent.tiff"}) {
    EXPECT_TRUE(read_image(data(name)).transparency_dropped) << name;
  }
  for (const char* name : {"rgb.png", "gray.png", "lossy.webp", "interlaced.gif", "lzw.tiff", "420.jpg"}) {
    EXPECT_FALSE(read_image(data(name)).transparency_dropped) << name;
  }
}

TEST(Image, JpegCodingsWithoutADecoderAreNamed) {
  std::string jpeg = bytes_of("420.jpg");
  const std::size_t frame = jpeg.find("\xFF\xC0") + 1;
  for (const char* arithmetic : {"\xC9", "\xCA", "\xCB"}) {
    jpeg[frame] = *arithmetic;
    EXPECT_THAT(reason_for_bytes(jpeg),
                HasSubstr("is a JPEG file with arithmetic coding, which is not supported"));
  }
  jpeg[frame] = '\xC5';
  EXPECT_THAT(reason_for_bytes(jpeg), HasSubstr("hierarchical coding"));
}

TEST(Image, AJpegOfThousandsOfScansIsRefused) {
  const std::string jpeg = bytes_of("progressive.jpg");
  const std::size_t last = jpeg.rfind("\xFF\xDA");
  const std::string scan = jpeg.substr(last, jpeg.size() - 2 - last);
  const auto with_more = [&](int scans) {
    std::string more = jpeg.substr(0, jpeg.size() - 2);
    for (int i = 0; i < scans; ++i) more += scan;
    return more + jpeg.substr(jpeg.size() - 2);
  };
  EXPECT_THAT(reason_for_bytes(with_more(500)), HasSubstr("of more than 500 scans"));
  EXPECT_THAT(reason_for_bytes(with_more(480)), testing::Not(HasSubstr("scans")));
}

TEST(Image, TiffKindsWithoutADecoderAreNamed) {
  std::string tiff = bytes_of("lzw.tiff");
  const std::size_t compression = tiff.find("\x03\x01\x03\0"s) + 8;
  for (const auto& [code, name] : {std::pair{'\x07', "JPEG"}, std::pair{'\x63', "unknown (99)"}}) {
    tiff[compression] = code;
    EXPECT_THAT(reason_for_bytes(tiff), HasSubstr("is a TIFF file with "s + name + " compression"));
  }
}

std::string png_header(std::size_t width, std::size_t height) {
  return "\x89PNG\r\n\x1a\n"s + chunk("IHDR", big32(width) + big32(height) + "\x08\x02\0\0\0"s) +
         chunk("IDAT", "");
}

TEST(Image, UpTo179MegapixelsAreRead) {
  const test::TempDir dir;
  write_bytes(dir / "photograph", png_header(12000, 9000));
  EXPECT_EQ(probe_image(dir / "photograph"), (PixelSize{12000, 9000}));
  write_bytes(dir / "limit", png_header(12060, 14838));
  EXPECT_EQ(probe_image(dir / "limit"), (PixelSize{12060, 14838}));
  write_bytes(dir / "beyond", png_header(13400, 13400));
  EXPECT_THROW(probe_image(dir / "beyond"), ItemError);
}

}  // namespace
}  // namespace wan::media
