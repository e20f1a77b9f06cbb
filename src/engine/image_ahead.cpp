#include "engine/image_ahead.h"

#include <sys/stat.h>

#include <chrono>
#include <exception>
#include <utility>

namespace wan::engine {
namespace {

constexpr std::int64_t most_pixels = std::int64_t{32} << 20U;  // about 100 MB once it is decoded
constexpr std::uint64_t most_bytes = std::uint64_t{64} << 20U;

}  // namespace

std::optional<ImageAhead::Stamp> ImageAhead::stamp_of(const std::filesystem::path& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return Stamp{.device = status.st_dev,
               .inode = status.st_ino,
               .bytes = static_cast<std::uint64_t>(status.st_size),
               .changed_s = status.st_mtim.tv_sec,
               .changed_ns = status.st_mtim.tv_nsec};
}

std::optional<ImageAhead::Decoded> ImageAhead::decode(const std::filesystem::path& path) {
  const std::optional<Stamp> stamp = stamp_of(path);
  if (!stamp || stamp->bytes > most_bytes) return std::nullopt;
  const PixelSize size = media::probe_image(path);
  if (std::int64_t{size.width} * size.height > most_pixels) return std::nullopt;
  return Decoded{.stamp = *stamp, .image = media::read_image(path)};
}

void ImageAhead::begin(const std::filesystem::path& path) noexcept {
  try {
    if (decoding_.valid() && decoding_.wait_for(std::chrono::seconds{0}) != std::future_status::ready) return;
    decoding_ = std::async(std::launch::async, &ImageAhead::decode, path);
    path_ = path;
  } catch (const std::exception&) {  // no thread, for one: the image is read when its turn comes
    decoding_ = {};
  }
}

media::Image ImageAhead::take(const std::filesystem::path& path) {
  if (decoding_.valid() && path == path_) {
    try {
      std::optional<Decoded> decoded = std::exchange(decoding_, {}).get();
      if (decoded && stamp_of(path) == decoded->stamp) {
        ++hits_;
        return std::move(decoded->image);
      }
    } catch (const std::exception&) {  // if the error lasts, it comes again below
    }
  }
  return media::read_image(path);
}

}  // namespace wan::engine
