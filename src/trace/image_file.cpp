#include "trace/image_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "core/check.h"

namespace wan::trace {
namespace {

/// Two changes that are this close are written in one call, together with the pages between them: a call
/// costs more than these bytes.
constexpr std::uint64_t most_pages_between = 32;

std::filesystem::path hidden_name(const std::filesystem::path& path, const char* suffix) {
  return path.parent_path() / ("." + path.filename().string() + suffix);
}

}  // namespace

ImageFile::ImageFile(std::filesystem::path path)
    : path_(std::move(path)), hidden_{hidden_name(path_, ".next"), hidden_name(path_, ".last")} {
  images_[0].file = create(path_);
  images_[1].file = create(hidden_[0]);
}

ImageFile::~ImageFile() {
  if (has_two_) ::unlink(hidden_[0].c_str());
}

UniqueFd ImageFile::create(const std::filesystem::path& name) const {
  UniqueFd file(::open(name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666));
  if (!file) fail_to_write("create", name, errno);
  return file;
}

void ImageFile::resize(std::uint64_t size) {
  // Pages beyond a smaller end must not come back.
  if (size < size_) {
    const std::vector<std::byte> zeros(size_ - size);
    write(size, zeros);
  }
  size_ = size;
}

void ImageFile::read_image(std::uint64_t offset, std::span<std::byte> bytes) const {
  const Image& image = images_[published_];
  while (!bytes.empty()) {
    const ssize_t count = ::pread(image.file.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail("cannot read {}: {}", path_.string(), std::strerror(errno));
    if (count == 0) break;
    offset += static_cast<std::uint64_t>(count);
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  std::ranges::fill(bytes, std::byte{0});
}

ImageFile::Page& ImageFile::page(std::uint64_t index) {
  const auto [entry, is_new] = pages_.try_emplace(index);
  if (is_new) read_image(index * page_bytes, entry->second.bytes);
  return entry->second;
}

void ImageFile::write(std::uint64_t offset, std::span<const std::byte> bytes) {
  size_ = std::max(size_, offset + bytes.size());
  while (!bytes.empty()) {
    const std::size_t within = offset % page_bytes;
    const std::size_t count = std::min(bytes.size(), page_bytes - within);
    Page& changed = page(offset / page_bytes);
    std::memcpy(changed.bytes.data() + within, bytes.data(), count);
    changed.is_missing = {true, true};
    offset += count;
    bytes = bytes.subspan(count);
  }
}

/// Every page that no image lacks is the same in both.
void ImageFile::read(std::uint64_t offset, std::span<std::byte> bytes) const {
  while (!bytes.empty()) {
    const std::size_t within = offset % page_bytes;
    const std::size_t count = std::min(bytes.size(), page_bytes - within);
    const auto found = pages_.find(offset / page_bytes);
    if (found != pages_.end()) {
      std::memcpy(bytes.data(), found->second.bytes.data() + within, count);
    } else {
      read_image(offset, bytes.first(count));
    }
    offset += count;
    bytes = bytes.subspan(count);
  }
}

void ImageFile::write_run(std::size_t which, std::uint64_t first, std::uint64_t end) {
  std::vector<std::byte> bytes((end - first) * page_bytes);
  read(first * page_bytes, bytes);
  // Nothing lies beyond the end of a file that a reader opens.
  bytes.resize(std::min<std::uint64_t>(bytes.size(), size_ - std::min(size_, first * page_bytes)));
  std::span<const std::byte> left = bytes;
  std::uint64_t offset = first * page_bytes;
  while (!left.empty()) {
    const ssize_t count =
        ::pwrite(images_[which].file.get(), left.data(), left.size(), static_cast<off_t>(offset));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) fail_to_write("write", path_, errno);
    offset += static_cast<std::uint64_t>(count);
    left = left.subspan(static_cast<std::size_t>(count));
  }
  images_[which].size = std::max(images_[which].size, offset);
}

void ImageFile::write_image(std::size_t which) {
  std::uint64_t first = 0;
  std::uint64_t end = 0;  // of the run under way; 0: there is none
  for (const auto& [index, changed] : pages_) {
    if (!changed.is_missing[which]) continue;
    if (end > 0 && index > end + most_pages_between) {
      write_run(which, first, end);
      end = 0;
    }
    if (end == 0) first = index;
    end = index + 1;
  }
  if (end > 0) write_run(which, first, end);
  if (images_[which].size == size_) return;
  if (::ftruncate(images_[which].file.get(), static_cast<off_t>(size_)) != 0)
    fail_to_write("write", path_, errno);
  images_[which].size = size_;
}

/// False if the file system has no hard links.
bool ImageFile::swap_names() {
  // The published image keeps a name, or it could never be published again.
  if (::link(path_.c_str(), hidden_[1].c_str()) != 0) {
    if (means_no_hard_links(errno)) return false;
    fail_to_write("link", hidden_[1], errno);
  }
  if (::rename(hidden_[0].c_str(), path_.c_str()) != 0) fail_to_write("rename", hidden_[0], errno);
  std::swap(hidden_[0], hidden_[1]);
  return true;
}

void ImageFile::publish() {
  const std::size_t other = 1 - published_;
  if (has_two_) {
    write_image(other);
    if (swap_names()) {
      published_ = other;
    } else {
      has_two_ = false;
      ::unlink(hidden_[0].c_str());
    }
  }
  if (!has_two_) write_image(published_);
  for (auto entry = pages_.begin(); entry != pages_.end();) {
    std::array<bool, 2>& is_missing = entry->second.is_missing;
    is_missing[published_] = false;
    const bool is_done = !is_missing[1 - published_] || !has_two_;
    entry = is_done ? pages_.erase(entry) : std::next(entry);
  }
}

}  // namespace wan::trace
