#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <fstream>

#include "wan/request.h"

namespace wan::test {

/// Writes a BMP file of one colour; each number up to 16 million has a colour of its own.
inline void write_picture(const std::filesystem::path& file, PixelSize size, std::uint32_t number) {
  const std::uint32_t row_bytes = (static_cast<std::uint32_t>(size.width) * 3 + 3) / 4 * 4;
  const std::uint32_t pixel_bytes = row_bytes * static_cast<std::uint32_t>(size.height);
  constexpr std::uint32_t header_bytes = 54;
  std::ofstream out(file, std::ios::binary);
  const auto put = [&out](std::uint32_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.put(static_cast<char>((value >> (8 * i)) & 0xFFU));
  };
  out << "BM";
  put(header_bytes + pixel_bytes, 4);
  put(0, 4);
  put(header_bytes, 4);
  put(40, 4);  // of the information header
  put(static_cast<std::uint32_t>(size.width), 4);
  put(static_cast<std::uint32_t>(size.height), 4);
  put(1, 2);   // plane
  put(24, 2);  // bits of a pixel
  put(0, 4);   // not compressed
  put(pixel_bytes, 4);
  for (int i = 0; i < 4; ++i) put(0, 4);
  for (int row = 0; row < size.height; ++row) {
    for (int column = 0; column < size.width; ++column) put(number, 3);
    put(0, static_cast<int>(row_bytes) - 3 * size.width);
  }
}

}  // namespace wan::test
