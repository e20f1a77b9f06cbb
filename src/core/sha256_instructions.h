#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

namespace wan {

/// SHA-256 by the processor's own instructions, about four times as fast as FFmpeg's, which has none for x86.
class Sha256Instructions {
 public:
  /// Whether this processor has them.
  static bool are_there();

  /// Only if are_there().
  void update(std::span<const std::byte> data);
  std::array<std::uint8_t, 32> finish();

 private:
  static constexpr std::size_t block_bytes = 64;

  std::array<std::uint32_t, 8> state_{0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                      0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, block_bytes> rest_{};  ///< the bytes of a block that is not full yet
  std::uint64_t bytes_ = 0;
};

}  // namespace wan
