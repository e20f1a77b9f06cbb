#include "doctor/storage_checks.h"

#include "core/check.h"
#include "core/strings.h"

namespace wan::doctor {
namespace {

constexpr std::uint64_t mib = 1U << 20;

/// Missing features of a file system that a run works without.
std::vector<Finding> check_lacks(const StorageFacts& facts, const std::string& shown) {
  std::vector<Finding> findings;
  const auto lack = [&](const std::string& reason, std::string_view what, const char* remedy) {
    if (reason.empty()) return;
    findings.push_back(
        warn("output folder", fmt::format("{}: {} ({})", shown, what, printable(reason)), remedy));
  };
  lack(facts.probe.no_links, "hard links are not supported, so claims are copies",
       "no action is needed; if several jobs share the folder, a POSIX file system (ext4, xfs, NFS, Lustre, "
       "GPFS) is safer");
  lack(facts.probe.no_locks, "file locks are not supported, so the index of traces is written without a lock",
       "no action is needed; if several jobs may start in the same second, mount the file system with locks "
       "(Lustre: -o flock)");
  lack(facts.probe.no_folder_flush,
       "folders cannot be flushed, so a crash of the server may undo the rename of a video",
       "no action is needed: the next run makes such an item again");
  return findings;
}

Finding check_space(const StorageFacts& facts, const std::string& shown) {
  constexpr std::uint64_t too_little = 100 * mib;
  constexpr std::uint64_t little = 5120 * mib;
  const std::uint64_t bytes = *facts.probe.free_bytes;
  const std::string space = fmt::format("{} free for {}", bytes_text(bytes), shown);
  const std::string remedy =
      fmt::format("free some space or choose another {}: a video takes some ten MiB, more with saved latents",
                  facts.option);
  if (bytes < too_little) return bad("disk space", space, remedy);
  return bytes < little ? warn("disk space", space, remedy) : ok("disk space", space);
}

}  // namespace

StorageFacts gather_storage(const std::filesystem::path& output_folder, std::string option) {
  return {.folder = output_folder,
          .probe = store::probe_output_folder(output_folder, option),
          .option = std::move(option)};
}

std::vector<Finding> check_storage(const StorageFacts& facts) {
  const std::string shown = printable(facts.folder.string());
  std::vector<Finding> findings;
  if (!facts.probe.problem.empty()) {
    findings.push_back(bad("output folder", printable(facts.probe.problem),
                           "choose a folder that you may write to, or remove what is in the way"));
  } else {
    findings = check_lacks(facts, shown);
    if (findings.empty()) {
      findings.push_back(
          ok("output folder", fmt::format("{} can be written to; links, locks and flushes work", shown)));
    }
  }
  if (facts.probe.free_bytes) findings.push_back(check_space(facts, shown));
  return findings;
}

}  // namespace wan::doctor
