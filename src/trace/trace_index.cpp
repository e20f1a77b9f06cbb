#include "trace/trace_index.h"

#include <fcntl.h>
#include <sys/file.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <thread>
#include <vector>

#include "core/check.h"
#include "core/file.h"
#include "trace/hdf5.h"

namespace wan::trace {
namespace {

/// Link name -> file, relative to the index.
using Links = std::map<std::string, std::string>;

std::filesystem::path with_suffix(const std::filesystem::path& path, const char* suffix) {
  std::filesystem::path result = path;
  result += suffix;
  return result;
}

/// Held until the descriptor is closed, also by the death of its owner. Waits by asking again, because a lock
/// on a network file system may never be granted.
UniqueFd lock_beside(const std::filesystem::path& index) {
  constexpr auto patience = std::chrono::seconds(60);
  constexpr auto pause = std::chrono::milliseconds(20);
  const std::filesystem::path path = with_suffix(index, ".lock");
  UniqueFd file(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
  if (!file) fail("cannot create {}: {}", path.string(), std::strerror(errno));
  const auto start = std::chrono::steady_clock::now();
  while (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK && errno != EINTR)
      fail("cannot lock {}: {}", path.string(), std::strerror(errno));
    if (std::chrono::steady_clock::now() - start > patience) {
      fail("another process has held {} for 60 s; if none is alive, remove it", path.string());
    }
    std::this_thread::sleep_for(pause);
  }
  return file;
}

struct LinkReader {
  std::filesystem::path path;
  Links links;
  std::string problem;  ///< exceptions must not pass through C
};

/// Called by H5Literate for each member of the index's root group.
herr_t read_link(hid_t group, const char* name, const H5L_info_t* info, void* reader_pointer) {
  LinkReader& reader = *static_cast<LinkReader*>(reader_pointer);
  if (info->type != H5L_TYPE_EXTERNAL) {
    reader.problem = fmt::format("'{}' in it is no external link", name);
    return -1;
  }
  std::vector<char> value(info->u.val_size);
  const char* file = nullptr;
  const char* object = nullptr;
  if (H5Lget_val(group, name, value.data(), value.size(), H5P_DEFAULT) < 0 ||
      H5Lunpack_elink_val(value.data(), value.size(), nullptr, &file, &object) < 0) {
    reader.problem = fmt::format("link '{}' in it cannot be read", name);
    return -1;
  }
  reader.links[name] = file;
  return 0;
}

Links read_links(const std::filesystem::path& index) {
  if (!std::filesystem::exists(index)) return {};
  LinkReader reader{.path = index, .links = {}, .problem = {}};
  const Handle file = open_file(index);
  if (H5Literate(file.get(), H5_INDEX_NAME, H5_ITER_INC, nullptr, read_link, &reader) < 0) {
    const std::string reason = reader.problem.empty() ? error_stack_text() : reader.problem;
    fail("{} is not an index of traces ({}); it is left as it is: name another file or move it away",
         index.string(), reason);
  }
  return reader.links;
}

void write_links(const std::filesystem::path& path, const Links& links) {
  const Handle file = create_file(path);
  for (const auto& [name, target] : links) {
    checked(H5Lcreate_external(target.c_str(), "/", file.get(), name.c_str(), H5P_DEFAULT, H5P_DEFAULT),
            fmt::format("link '{}'", name), path);
  }
  // Closing reports no failed write of ours: the handle's destructor cannot throw.
  checked(H5Fflush(file.get(), H5F_SCOPE_LOCAL), "write out the links", path);
}

}  // namespace

void add_to_index(const std::filesystem::path& index, const std::filesystem::path& group_file) {
  const std::filesystem::path folder = std::filesystem::absolute(index).lexically_normal().parent_path();
  const std::filesystem::path target =
      std::filesystem::absolute(group_file).lexically_normal().lexically_relative(folder);
  const UniqueFd lock = lock_beside(index);
  Links links = read_links(index);
  const std::string name = group_file.stem().string();
  if (const auto old = links.find(name); old != links.end() && old->second == target.string()) return;
  links[name] = target.string();
  const std::filesystem::path temporary = with_suffix(index, ".tmp");  // ours alone while we hold the lock
  try {
    write_links(temporary, links);
    publish_file(temporary, index);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(temporary, ignored);
    throw;
  }
}

}  // namespace wan::trace
