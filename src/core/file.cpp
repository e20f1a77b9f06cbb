#include "core/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "core/check.h"
#include "core/printable.h"

namespace wan {
namespace {

constexpr std::array storage_errors{ENOSPC,   EDQUOT,    EIO,       EROFS,     ESTALE, ENODEV,     EREMOTEIO,
                                    ENOTCONN, ESHUTDOWN, ETIMEDOUT, EHOSTDOWN, ENOKEY, EKEYEXPIRED};

constexpr std::size_t longest_shown_path = 300;  // bytes; messages append the reason after the path

std::string reason() { return std::strerror(errno); }

void write_all(const UniqueFd& file, const std::filesystem::path& path, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(file.get(), text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_to_write("write", path, errno);
    text.remove_prefix(static_cast<std::size_t>(written));
  }
}

std::filesystem::path folder_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

}  // namespace

bool is_storage_errno(int error) { return std::ranges::find(storage_errors, error) != storage_errors.end(); }

bool means_no_hard_links(int error) {
  return error == EPERM || error == EOPNOTSUPP || error == ENOSYS || error == EMLINK || error == EINVAL ||
         error == ENOTTY || error == EXDEV || error == EACCES;
}

void fail_to_write(std::string_view doing, const std::filesystem::path& path, int error) {
  const std::string message = fmt::format("cannot {} {}: {}", doing, path.string(), std::strerror(error));
  if (is_storage_errno(error)) throw StorageError(message);
  throw Error(message);
}

void FdCloser::close(int fd) noexcept { ::close(fd); }

UniqueFd open_regular_file(const std::filesystem::path& path) {
  // With O_NONBLOCK, open() of a pipe does not wait for a writer. For regular files it changes nothing.
  UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file) fail("cannot open {}: {}", printable(path.string(), longest_shown_path), reason());
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail("cannot stat {}: {}", path.string(), reason());
  if (!S_ISREG(status.st_mode)) fail("{} is not a regular file", path.string());
  return file;
}

void read_at(const UniqueFd& file, const std::filesystem::path& path, std::uint64_t offset,
             std::span<std::byte> bytes) {
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got =
        ::pread(file.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) fail("cannot read {} at byte {}: {}", path.string(), offset + done, reason());
    if (got == 0) {
      fail("{} ends early: {} bytes expected at byte {}, {} found", path.string(), bytes.size(), offset,
           done);
    }
    done += static_cast<std::size_t>(got);
  }
}

std::string read_text_file(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const UniqueFd file = open_regular_file(path);
  struct stat status {};
  if (::fstat(file.get(), &status) != 0) fail("cannot stat {}: {}", path.string(), reason());
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (size > max_bytes) fail("{} is {} bytes long; at most {} are read", path.string(), size, max_bytes);
  std::string text(size, '\0');
  read_at(file, path, 0, std::as_writable_bytes(std::span(text)));
  return text;
}

std::string read_stream(const std::filesystem::path& path, std::uint64_t max_bytes) {
  const bool is_input = path == "/dev/stdin";
  const UniqueFd file(is_input ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0)
                               : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) fail("cannot open {}: {}", printable(path.string(), longest_shown_path), reason());
  constexpr std::size_t block_bytes = 1 << 16;
  std::string text;
  while (true) {
    const std::size_t before = text.size();
    text.resize(before + block_bytes);
    const ssize_t got = ::read(file.get(), text.data() + before, block_bytes);
    const int error = errno;
    text.resize(before + static_cast<std::size_t>(std::max<ssize_t>(got, 0)));
    if (got < 0 && error == EINTR) continue;
    if (got < 0) fail("cannot read {}: {}", path.string(), std::strerror(error));
    if (got == 0) return text;
    if (text.size() > max_bytes)
      fail("{} is longer than {} bytes; longer texts are not read", path.string(), max_bytes);
  }
}

void sync_path(const std::filesystem::path& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) fail_to_write("open, to flush it,", path, errno);
  if (::fsync(file.get()) == 0) return;
  const int error = errno;
  // CIFS and many FUSE file systems cannot flush a folder. Only their rename protects the file there.
  const bool is_unsupported = error == EINVAL || error == ENOTSUP || error == ENOSYS || error == EBADF;
  struct stat status {};
  if (is_unsupported && ::fstat(file.get(), &status) == 0 && S_ISDIR(status.st_mode)) return;
  fail_to_write("flush", path, error);
}

void publish_file(const std::filesystem::path& from, const std::filesystem::path& to) {
  sync_path(from);
  if (::rename(from.c_str(), to.c_str()) != 0) {
    fail_to_write(fmt::format("rename {} to", from.string()), to, errno);
  }
  sync_path(folder_of(to));
}

void write_file_atomically(const std::filesystem::path& path, std::string_view text) {
  const std::filesystem::path temporary =
      folder_of(path) / fmt::format(".{}.{}.tmp", path.filename().string(), ::getpid());
  try {
    const UniqueFd file(
        ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666));
    if (!file) fail_to_write("create", temporary, errno);
    write_all(file, temporary, text);
    publish_file(temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

}  // namespace wan
