#include "trace/trace_index.h"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <random>
#include <string_view>
#include <thread>
#include <utility>

#include "core/check.h"
#include "core/file.h"
#include "core/place.h"
#include "core/printable.h"
#include "trace/hdf5.h"

namespace wan::trace {
namespace {

/// From a link's name to its file, relative to the index.
using Links = std::map<std::string, std::string>;

std::filesystem::path with_suffix(const std::filesystem::path& path, const char* suffix) {
  std::filesystem::path result = path;
  result += suffix;
  return result;
}

/// A lock, or the reason why there is none.
struct Lock {
  UniqueFd file;
  std::string problem;
};

/// Another user's file may be open for reading only. That is enough for a lock on most file systems.
UniqueFd open_lock_file(const std::filesystem::path& path) {
  // O_NONBLOCK: opening a pipe would wait for its other end.
  constexpr int flags = O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
  UniqueFd file(::open(path.c_str(), O_RDWR | flags, 0666));
  if (!file && errno == EACCES) file = UniqueFd(::open(path.c_str(), O_RDONLY | flags, 0666));
  return file;
}

/// The lock is held until the descriptor is closed, also if its owner dies. The function asks for it again
/// and again, because a lock on a network file system may never be granted. Some file systems have no locks
/// (Lustre without flock, NFS without lockd).
Lock lock_beside(const std::filesystem::path& index) {
  constexpr auto patience = std::chrono::seconds(60);
  constexpr auto pause = std::chrono::milliseconds(20);
  const std::filesystem::path path = with_suffix(index, ".lock");
  Lock lock{.file = open_lock_file(path), .problem = {}};
  if (!lock.file) fail("cannot create {}: {}", path.string(), std::strerror(errno));
  const auto start = std::chrono::steady_clock::now();
  while (::flock(lock.file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR) {
      lock.problem = fmt::format("{} cannot be locked: {}", path.string(), std::strerror(errno));
      return lock;
    }
    if (std::chrono::steady_clock::now() - start > patience) {
      fail("another process has held {} for 60 s; if none is alive, remove it", path.string());
    }
    std::this_thread::sleep_for(pause);
  }
  return lock;
}

void write_links(const std::filesystem::path& path, const Links& links) {
  const Handle file = create_file(path);
  for (const auto& [name, target] : links) {
    checked(H5Lcreate_external(target.c_str(), "/", file.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
            fmt::format("link '{}'", name), path);
  }
  // Closing does not report our failed writes, because the handle's destructor cannot throw.
  checked(H5Fflush(file.get(), H5F_SCOPE_LOCAL), "write out the links", path);
}

/// Leaves no file at this path, whatever happens.
struct RemovedAtEnd {
  explicit RemovedAtEnd(std::filesystem::path file) : path(std::move(file)) {}
  RemovedAtEnd(const RemovedAtEnd&) = delete;
  RemovedAtEnd& operator=(const RemovedAtEnd&) = delete;
  ~RemovedAtEnd() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }
  std::filesystem::path path;
};

/// The links in the bytes of an index. HDF5 stores the value of an external link as a NUL, the file, a NUL,
/// the object "/" and a NUL, and does not compress it. The link's name is the file's stem.
Links links_in(std::string_view bytes) {
  constexpr std::string_view ending(".h5\0/\0", 6);
  constexpr std::size_t shown_bytes = 3;  // of the ending, which belong to the file's name
  Links links;
  for (std::size_t at = bytes.find(ending); at != std::string_view::npos; at = bytes.find(ending, at + 1)) {
    const std::size_t before = bytes.rfind('\0', at);
    if (before == std::string_view::npos) continue;
    const std::string file(bytes.substr(before + 1, at + shown_bytes - before - 1));
    if (!first_invalid_utf8(file)) links[std::filesystem::path(file).stem().string()] = file;
  }
  return links;
}

/// The links of an index that are whole. HDF5 does not read it: a damaged file makes that library crash, and
/// the index lies in a folder that others may write to. An index is as long as one that is made anew of its
/// links; a file that holds more is longer.
Links read_links(const std::filesystem::path& index, const std::filesystem::path& temporary) {
  constexpr std::uint64_t most_bytes = 8 << 20;
  constexpr std::size_t most_links = 50'000;  // more than a whole file of so many bytes holds
  constexpr std::string_view signature("\x89HDF\r\n\x1a\n");
  if (!std::filesystem::exists(index)) return {};
  const auto refuse = [&index](std::string_view reason) {
    fail(
        "{} is not an index of traces ({}), so it was not changed: choose another file or move this one away",
        index.string(), reason);
  };
  const std::string bytes = read_text_file(index, most_bytes);
  if (!bytes.starts_with(signature)) refuse("it does not begin as an HDF5 file");
  Links links = links_in(bytes);
  if (links.size() > most_links) refuse(fmt::format("it holds {} links", links.size()));
  const RemovedAtEnd anew(temporary);
  write_links(anew.path, links);
  const std::uintmax_t expected = std::filesystem::file_size(anew.path);
  if (bytes.size() != expected) {
    refuse(fmt::format("it has {} bytes, and one of its {} links would have {}: it is damaged, or holds more",
                       bytes.size(), links.size(), expected));
  }
  return links;
}

/// Publishes the index with one more link.
void write_index(const std::filesystem::path& index, const std::filesystem::path& temporary,
                 const Links& links) {
  const RemovedAtEnd anew(temporary);
  write_links(anew.path, links);
  publish_file(anew.path, index);
}

bool has_link(const Links& links, const std::string& name, const std::string& target) {
  const auto found = links.find(name);
  return found != links.end() && found->second == target;
}

/// Without a lock, others may replace the index between our reading and our renaming, and our link would be
/// lost. So look again, each time a little later, and at other moments than the others.
void add_without_lock(const std::filesystem::path& index, const std::string& name,
                      const std::string& target) {
  constexpr int most_tries = 20;
  std::minstd_rand random(std::random_device{}());
  std::uniform_int_distribution<int> pause_ms(5, 60);
  const std::filesystem::path temporary = with_suffix(index, fmt::format(".{}.tmp", name).c_str());
  for (int tries = 0; tries < most_tries; ++tries) {
    Links links = read_links(index, temporary);
    if (has_link(links, name, target)) {
      if (tries > 0) return;
      // Another process may be about to replace the index by one without our link.
    } else {
      links[name] = target;
      write_index(index, temporary, links);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(pause_ms(random)));
  }
}

}  // namespace

std::string in_the_way_of_trace(const std::filesystem::path& index) {
  std::string problem = in_the_way_of_folder(index.parent_path() / index.stem(), "the folder of the traces");
  for (const char* suffix : {"", ".tmp", ".lock"}) {
    if (problem.empty()) problem = in_the_way_of_file(with_suffix(index, suffix), "the index of traces");
  }
  if (problem.empty() && !index.has_extension()) {
    problem = fmt::format(
        "the trace {} has a name without an ending, which the folder of the traces beside it "
        "would have, too: add one, such as .h5",
        printable(index.string()));
  }
  return problem;
}

std::string add_to_index(const std::filesystem::path& index, const std::filesystem::path& group_file) {
  const std::filesystem::path folder = std::filesystem::absolute(index).lexically_normal().parent_path();
  const std::filesystem::path target =
      std::filesystem::absolute(group_file).lexically_normal().lexically_relative(folder);
  if (const std::string problem = in_the_way_of_trace(index); !problem.empty()) fail("{}", problem);
  const std::string name = group_file.stem().string();
  const Lock lock = lock_beside(index);
  if (!lock.problem.empty()) {
    add_without_lock(index, name, target.string());
    return lock.problem;
  }
  // used by this process only, because it holds the lock
  const std::filesystem::path temporary = with_suffix(index, ".tmp");
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);  // may be left of a process that died
  Links links = read_links(index, temporary);
  if (has_link(links, name, target.string())) return {};
  links[name] = target.string();
  write_index(index, temporary, links);
  return {};
}

}  // namespace wan::trace
