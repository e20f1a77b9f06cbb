#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "wan/storage_error.h"

namespace wan {

/// Whether a failure with this errno while writing says that the storage is at fault, not what is written: no
/// space (ENOSPC, EDQUOT), broken (EIO), read-only (EROFS), or gone (ESTALE and what network file systems say
/// when they have lost their server).
bool is_storage_errno(int error);

/// Throws StorageError if `error` is such an errno, else Error: "cannot write PATH: REASON".
[[noreturn]] void fail_to_write(std::string_view doing, const std::filesystem::path& path, int error);

/// Owns a POSIX file descriptor.
class UniqueFd {
 public:
  UniqueFd() = default;
  explicit UniqueFd(int fd) : fd_(fd) {}
  UniqueFd(UniqueFd&& other) noexcept : fd_(other.release()) {}
  UniqueFd& operator=(UniqueFd&& other) noexcept;
  UniqueFd(const UniqueFd&) = delete;
  UniqueFd& operator=(const UniqueFd&) = delete;
  ~UniqueFd();

  int get() const { return fd_; }
  explicit operator bool() const { return fd_ >= 0; }
  int release();

 private:
  int fd_ = -1;
};

/// Opens an existing regular file for reading; throws Error with path and reason. Refuses folders, pipes and
/// devices.
UniqueFd open_regular_file(const std::filesystem::path& path);

/// Reads exactly `bytes.size()` bytes at `offset`; throws Error naming path, offset and how many bytes were
/// there.
void read_at(const UniqueFd& file, const std::filesystem::path& path, std::uint64_t offset,
             std::span<std::byte> bytes);

/// The whole of a text file; throws Error if it cannot be read or is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// All that comes until the end of a pipe or another file that is no regular one; "/dev/stdin" is this
/// process's own standard input, whatever it is. Waits for whoever writes. Throws Error, also for more than
/// `max_bytes`.
std::string read_stream(const std::filesystem::path& path, std::uint64_t max_bytes);

/// fsync of a file or folder by path; throws Error.
void sync_path(const std::filesystem::path& path);

/// Makes `from` appear as `to` in one step that survives a crash: fsync of the file, rename, fsync of the
/// folder.
void publish_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes text under a temporary name beside `path` and publishes it; throws Error.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace wan
