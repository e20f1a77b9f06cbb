#include "store/output_probe.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <ctime>
#include <string_view>

#include "core/check.h"
#include "core/file.h"
#include "core/place.h"
#include "core/strings.h"
#include "store/claim_link.h"
#include "store/output_folder.h"

namespace wan::store {
namespace {

// Enough to show that a quota is used up.
constexpr std::size_t probe_bytes = 64U << 10;

// Files of another probe are removed if they are older than this. A probe takes less than a second.
constexpr std::time_t abandoned_after_s = 3600;
constexpr std::string_view probe_stem = "probe";

/// Hidden files and a folder of this process alone. The destructor removes them.
class ProbeFiles {
 public:
  explicit ProbeFiles(const std::filesystem::path& folder)
      : file(folder / hidden_name(probe_stem, random_token(), "tmp")),
        link(folder / hidden_name(probe_stem, random_token(), "tmp")),
        subfolder(folder / hidden_name(probe_stem, random_token(), "tmp")) {}
  ProbeFiles(const ProbeFiles&) = delete;
  ProbeFiles& operator=(const ProbeFiles&) = delete;
  ProbeFiles(ProbeFiles&&) = delete;
  ProbeFiles& operator=(ProbeFiles&&) = delete;
  ~ProbeFiles() {
    ::unlink(file.c_str());
    ::unlink(link.c_str());
    ::rmdir(subfolder.c_str());
  }

  std::filesystem::path file;
  std::filesystem::path link;
  std::filesystem::path subfolder;
};

void try_link(const ProbeFiles& files, OutputProbe& probe) {
  if (::link(files.file.c_str(), files.link.c_str()) == 0) return;
  const int error = errno;
  if (!means_no_hard_links(error))
    fail("cannot make the link {}: {}", files.link.string(), std::strerror(error));
  probe.no_links = std::strerror(error);
  create_file(files.link, "");
}

void try_lock(const ProbeFiles& files, OutputProbe& probe) {
  const UniqueFd file(::open(files.file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!file) fail("cannot open {}: {}", files.file.string(), std::strerror(errno));
  if (::flock(file.get(), LOCK_EX | LOCK_NB) != 0) probe.no_locks = std::strerror(errno);
}

/// A folder that cannot be flushed is no problem. A flush that fails is one.
void try_folder_flush(const std::filesystem::path& folder, OutputProbe& probe) {
  sync_path(folder);
  const UniqueFd opened(::open(folder.c_str(), O_RDONLY | O_CLOEXEC));
  if (opened && ::fsync(opened.get()) != 0) probe.no_folder_flush = std::strerror(errno);
}

/// Removes files beside `newest` that killed probes left. `newest`, a file just written, shows the clock of
/// the file system. Leaves files that it cannot remove.
void remove_abandoned_probes(const std::filesystem::path& newest) {
  struct stat now {};
  if (::lstat(newest.c_str(), &now) != 0) return;
  for (const std::string& name : names_in(newest.parent_path())) {
    const auto token = token_in(name);
    if (!token || name != hidden_name(probe_stem, *token, "tmp")) continue;
    const std::filesystem::path path = newest.parent_path() / name;
    struct stat status {};
    if (::lstat(path.c_str(), &status) != 0 || now.st_mtime - status.st_mtime < abandoned_after_s) continue;
    if (S_ISDIR(status.st_mode)) {
      ::rmdir(path.c_str());
    } else if (S_ISREG(status.st_mode)) {
      ::unlink(path.c_str());
    }
  }
}

/// Throws Error if a run would fail here.
void try_all(OutputProbe& probe) {
  const ProbeFiles files(probe.nearest);
  create_file(files.file, std::string(probe_bytes, ' '));
  remove_abandoned_probes(files.file);
  sync_path(files.file);
  try_lock(files, probe);
  try_link(files, probe);
  if (::rename(files.file.c_str(), files.link.c_str()) != 0)
    fail("cannot rename {}: {}", files.file.string(), std::strerror(errno));
  if (::mkdir(files.subfolder.c_str(), 0777) != 0)
    fail("cannot make the folder {}: {}", files.subfolder.string(), std::strerror(errno));
  try_folder_flush(probe.nearest, probe);
}

/// Looks at the names that a run uses besides those of its items. Returns an empty text if none is in the
/// way.
std::string find_in_the_way(const std::filesystem::path& folder) {
  for (const char* name : {".claims", ".state"}) {
    const std::filesystem::path inner = folder / name;
    if (std::string problem = in_the_way_of_folder(inner, "a folder that a run makes"); !problem.empty())
      return problem;
    if (::access(inner.c_str(), W_OK | X_OK) != 0 && errno != ENOENT) {
      return fmt::format("cannot write to {}: {}; let its owner open it to you (chmod g+w, umask 002)",
                         inner.string(), std::strerror(errno));
    }
  }
  const std::filesystem::path log = folder / "wan_batch.log";
  if (std::string problem = in_the_way_of_file(log, "the log"); !problem.empty()) return problem;
  if (std::string problem = in_the_way_of_file(folder / "run.json", "the run's record"); !problem.empty())
    return problem;
  if (::access(log.c_str(), W_OK) != 0 && errno != ENOENT) {
    return fmt::format("cannot write to the log {}: {}; let its owner open it to you (chmod g+w, umask 002)",
                       log.string(), std::strerror(errno));
  }
  return {};
}

void measure_space(OutputProbe& probe) {
  struct statvfs disk {};
  if (::statvfs(probe.nearest.c_str(), &disk) != 0) return;
  probe.free_bytes = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  if (probe.problem.empty() && disk.f_files > 0 && disk.f_favail == 0) {
    probe.problem =
        fmt::format("no more files can be made below {}: it has no inodes left", probe.nearest.string());
  }
}

}  // namespace

OutputProbe probe_output_folder(const std::filesystem::path& folder, const std::string& option) {
  OutputProbe probe;
  try {
    probe.nearest = std::filesystem::absolute(folder).lexically_normal();
    std::error_code unreachable;
    while (!std::filesystem::exists(probe.nearest, unreachable) && probe.nearest.has_relative_path())
      probe.nearest = probe.nearest.parent_path();
    require_writable_place(folder, option);
    if (std::filesystem::exists(folder)) probe.problem = find_in_the_way(folder);
    if (probe.problem.empty()) try_all(probe);
  } catch (const UsageError& error) {
    probe.problem = error.what();
    return probe;
  } catch (const std::filesystem::filesystem_error& error) {
    probe.problem = fmt::format("cannot write to the folder {}: {}; choose another with {}",
                                printable(folder.string(), 200), error.code().message(), option);
  } catch (const std::exception& error) {
    probe.problem = fmt::format("cannot write to the folder {}: {}; choose another with {}",
                                printable(folder.string()), error.what(), option);
  }
  measure_space(probe);
  return probe;
}

}  // namespace wan::store
