#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace wan::media {

using ByteView = std::span<const std::uint8_t>;

// Read integers at `at`. The caller has checked that they are inside the view.
inline std::uint32_t big16(ByteView bytes, std::size_t at) { return bytes[at] << 8U | bytes[at + 1]; }
inline std::uint32_t little16(ByteView bytes, std::size_t at) { return bytes[at] | bytes[at + 1] << 8U; }
inline std::uint32_t big32(ByteView bytes, std::size_t at) {
  return big16(bytes, at) << 16U | big16(bytes, at + 2);
}
inline std::uint32_t little32(ByteView bytes, std::size_t at) {
  return little16(bytes, at) | little16(bytes, at + 2) << 16U;
}

/// Whether `text` is at `at`, completely inside the view.
inline bool has_text(ByteView bytes, std::size_t at, std::string_view text) {
  if (at > bytes.size() || bytes.size() - at < text.size()) return false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (bytes[at + i] != static_cast<std::uint8_t>(text[i])) return false;
  }
  return true;
}

}  // namespace wan::media
