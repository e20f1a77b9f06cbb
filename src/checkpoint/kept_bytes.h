#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <utility>
#include <vector>

namespace wan::checkpoint {

/// Ranges of files that were read once, in host memory as the files hold them: they need not be read again.
/// No byte is kept twice. Several threads may use it.
class KeptBytes {
 public:
  /// Keeps at most so many bytes.
  explicit KeptBytes(std::uint64_t most_bytes) : most_bytes_(most_bytes) {}

  /// Fills `out` with the range of an open file that begins at `offset`. False if not all of it is kept.
  bool get(int file, std::uint64_t offset, std::span<std::byte> out) const;
  /// Keeps what is not kept of a range, if there is room for it and the host has the memory.
  void put(int file, std::uint64_t offset, std::span<const std::byte> bytes);

  std::uint64_t bytes() const;

 private:
  struct Kept {
    std::unique_ptr<std::byte[]> bytes;
    std::uint64_t size = 0;
  };
  using Ranges = std::map<std::pair<int, std::uint64_t>, Kept>;  ///< by file and offset; none overlap
  struct Gap {
    std::uint64_t offset = 0;
    std::uint64_t size = 0;
    bool operator==(const Gap&) const = default;
  };
  /// The parts of a range that are not kept.
  std::vector<Gap> gaps_in(int file, std::uint64_t offset, std::uint64_t end) const;
  bool reserve(std::uint64_t size);
  /// The first range that ends behind `offset`.
  Ranges::const_iterator first_behind(int file, std::uint64_t offset) const;

  std::uint64_t most_bytes_;
  mutable std::mutex mutex_;  ///< guards the members below; bytes that are kept never change
  Ranges ranges_;
  std::uint64_t bytes_ = 0;
};

}  // namespace wan::checkpoint
