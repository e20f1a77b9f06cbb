#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

#include "core/unique_handle.h"
#include "wan/storage_error.h"

namespace wan {

/// Whether this errno of a failed write means that the storage is at fault, not the data. Such errors are: no
/// space (ENOSPC, EDQUOT), a broken device (EIO), a read-only file system (EROFS), a lost file system
/// (ESTALE, and the errors of network file systems that lost their server).
bool is_storage_errno(int error);

/// Whether this errno of link() means that the file system has no hard links, or no more for this file.
bool means_no_hard_links(int error);

/// Throws StorageError if is_storage_errno(error), else Error: "cannot write PATH: REASON".
[[noreturn]] void fail_to_write(std::string_view doing, const std::filesystem::path& path, int error);

/// How UniqueFd closes.
struct FdCloser {
  using Value = int;
  static constexpr int none() { return -1; }
  static void close(int fd) noexcept;
};

/// Owns a POSIX file descriptor.
using UniqueFd = UniqueHandle<FdCloser>;

/// Opens an existing regular file for reading. Refuses folders, pipes and devices. Throws Error with path and
/// reason.
UniqueFd open_regular_file(const std::filesystem::path& path);

/// Reads exactly `bytes.size()` bytes at `offset`. Throws Error with the path, the offset and the number of
/// bytes that were there.
void read_at(const UniqueFd& file, const std::filesystem::path& path, std::uint64_t offset,
             std::span<std::byte> bytes);

/// Reads a whole text file. Throws Error if it cannot be read or is larger than `max_bytes`.
std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Reads a pipe or another special file until its end, and waits for its writer. "/dev/stdin" is this
/// process's standard input, of any kind. Throws Error, also for more than `max_bytes`.
std::string read_stream(const std::filesystem::path& path, std::uint64_t max_bytes);

/// Calls fsync on the file or folder at `path`. Throws Error.
void sync_path(const std::filesystem::path& path);

/// Renames `from` to `to` in one step that survives a crash: fsync of the file, rename, fsync of the folder.
void publish_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// Writes text under a temporary name beside `path`, then publishes it (publish_file). Throws Error.
void write_file_atomically(const std::filesystem::path& path, std::string_view text);

}  // namespace wan
