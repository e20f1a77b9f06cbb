#pragma once

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "core/file.h"
#include "media/image.h"
#include "support/temp_dir.h"
#include "wan/error.h"

namespace wan::media {

inline std::filesystem::path data(const std::string& name) {
  return std::filesystem::path(WAN_TEST_DATA) / "images" / name;
}

inline std::string bytes_of(const std::string& name) { return read_text_file(data(name), 1U << 20U); }

/// Without the flush to disk of write_file_atomically(): hundreds of files are written here.
inline void write_bytes(const std::filesystem::path& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// The reason why an image is not read, or "was read".
inline std::string reason_for(const std::filesystem::path& path, const ImageLimits& limits = {}) {
  try {
    read_image(path, limits);
  } catch (const ItemError& error) {
    EXPECT_EQ(error.stage(), "image");
    EXPECT_THAT(error.what(), testing::HasSubstr(path.string()));
    return error.what();
  }
  return "was read";
}

inline std::string reason_for_bytes(std::string_view bytes) {
  const test::TempDir dir;
  write_bytes(dir / "image", bytes);
  return reason_for(dir / "image");
}

inline Image image_of_bytes(std::string_view bytes) {
  const test::TempDir dir;
  write_bytes(dir / "image", bytes);
  return read_image(dir / "image");
}

/// A TIFF block whose only entry is the orientation, a number of the given type: 3 SHORT, 4 LONG.
inline std::string exif_block(char orientation, bool little_endian, char type = 3) {
  using namespace std::string_literals;
  const std::string zero2 = "\0\0"s;
  if (little_endian) {
    return "II*\0\x08\0\0\0\x01\0\x12\x01"s + type + "\0\x01\0\0\0"s + orientation + "\0\0\0\0\0\0\0"s;
  }
  return "MM\0*\0\0\0\x08\0\x01\x01\x12\0"s + type + "\0\0\0\x01"s + (type == 4 ? zero2 : "") + "\0"s +
         orientation + (type == 4 ? "" : zero2) + "\0\0\0\0"s;
}

}  // namespace wan::media
