#include "core/checksum.h"

#include <fmt/ranges.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <memory>
#include <vector>

#include "core/check.h"
#include "core/file.h"
#include "core/sha256_instructions.h"

extern "C" {
#include <libavutil/mem.h>
#include <libavutil/sha.h>
}

namespace wan {
namespace {

/// FFmpeg's SHA-256, or where the processor has instructions for it, these.
class Sha256 {
 public:
  Sha256() : state_(Sha256Instructions::are_there() ? nullptr : av_sha_alloc(), av_free) {
    if (Sha256Instructions::are_there()) return;
    if (!state_ || av_sha_init(state_.get(), 256) != 0) fail("cannot set up SHA-256: out of memory");
  }
  void update(std::span<const std::byte> data) {
    if (!state_) return instructions_.update(data);
    av_sha_update(state_.get(), reinterpret_cast<const std::uint8_t*>(data.data()), data.size());
  }
  std::string finish_hex() {
    std::array<std::uint8_t, 32> digest{};
    if (state_) {
      av_sha_final(state_.get(), digest.data());
    } else {
      digest = instructions_.finish();
    }
    return fmt::format("{:02x}", fmt::join(digest, ""));
  }

 private:
  std::unique_ptr<AVSHA, decltype(&av_free)> state_;  ///< null: the processor's instructions
  Sha256Instructions instructions_;
};

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  Sha256 sha;
  sha.update(std::as_bytes(std::span(bytes)));
  return sha.finish_hex();
}

std::string sha256_file_hex(const std::filesystem::path& path) {
  const UniqueFd file = open_regular_file(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail("cannot stat {}: {}", path.string(), std::strerror(errno));
  Sha256 sha;
  std::vector<std::byte> piece(std::size_t{1} << 20);
  const auto size = static_cast<std::uint64_t>(status.st_size);
  for (std::uint64_t offset = 0; offset < size; offset += piece.size()) {
    const auto wanted = static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), size - offset));
    read_at(file, path, offset, std::span(piece).first(wanted));
    sha.update(std::span(piece).first(wanted));
  }
  return sha.finish_hex();
}

}  // namespace wan
