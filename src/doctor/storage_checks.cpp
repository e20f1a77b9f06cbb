#include "doctor/storage_checks.h"

#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "batch/output_folder.h"
#include "batch/text.h"
#include "core/check.h"

namespace wan::doctor {
namespace {

/// What stands in the way of a hard link in the folder; empty: nothing.
std::string try_link(const std::filesystem::path& folder) {
  const std::filesystem::path file = folder / fmt::format(".{}.doctor", batch::random_token());
  const std::filesystem::path link = folder / fmt::format(".{}.doctor", batch::random_token());
  try {
    batch::create_file(file, "");
  } catch (const Error& error) {
    return error.what();
  }
  std::string problem = ::link(file.c_str(), link.c_str()) == 0 ? "" : std::strerror(errno);
  ::unlink(link.c_str());
  ::unlink(file.c_str());
  return problem;
}

}  // namespace

StorageFacts gather_storage(const std::filesystem::path& output_folder) {
  StorageFacts facts{.folder = output_folder, .nearest = {}, .not_writable = {}, .no_links = {}};
  std::error_code error;
  facts.nearest = std::filesystem::absolute(output_folder);
  while (!std::filesystem::exists(facts.nearest, error) && facts.nearest.has_relative_path())
    facts.nearest = facts.nearest.parent_path();
  try {
    batch::require_writable_place(output_folder, "--output-dir");
  } catch (const UsageError& problem) {
    facts.not_writable = problem.what();
    return facts;
  }
  facts.no_links = try_link(facts.nearest);
  struct statvfs disk {};
  if (::statvfs(facts.nearest.c_str(), &disk) == 0)
    facts.free_bytes = static_cast<std::uint64_t>(disk.f_bavail) * disk.f_frsize;
  return facts;
}

std::vector<Finding> check_storage(const StorageFacts& facts) {
  constexpr std::uint64_t mib = 1U << 20;
  constexpr std::uint64_t too_little = 100 * mib;
  constexpr std::uint64_t little = 5120 * mib;
  const std::string shown = batch::printable(facts.folder.string());
  if (!facts.not_writable.empty()) {
    return {
        bad("output folder", batch::printable(facts.not_writable), "choose a folder that you may write to")};
  }
  std::vector<Finding> findings;
  if (facts.no_links.empty()) {
    findings.push_back(ok("output folder", fmt::format("{} can be written to", shown)));
  } else {
    findings.push_back(bad("output folder",
                           fmt::format("{}: no hard links can be made, which claims are: {}", shown,
                                       batch::printable(facts.no_links)),
                           "choose a folder on a POSIX file system (ext4, xfs, NFS, Lustre, GPFS)"));
  }
  const std::string space = fmt::format("{} free for {}", bytes_text(facts.free_bytes), shown);
  const char* remedy =
      "free some space or choose another --output-dir: a video takes some ten MiB, more with "
      "--save-latents";
  if (facts.free_bytes < too_little) {
    findings.push_back(bad("disk space", space, remedy));
  } else if (facts.free_bytes < little) {
    findings.push_back(warn("disk space", space, remedy));
  } else {
    findings.push_back(ok("disk space", space));
  }
  return findings;
}

}  // namespace wan::doctor
