#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace wan::store {

/// The abilities of a run in its output folder.
struct OutputProbe {
  std::filesystem::path nearest;  ///< the folder, or the nearest existing one above it
  std::string problem;            ///< why a run would fail in it, with the remedy; empty: it would not fail
  std::string no_links;           ///< why there are no hard links; claims are copies then
  std::string no_locks;  ///< why nothing can be locked; the index of traces is made without a lock then
  std::string no_folder_flush;  ///< why folders cannot be flushed; a rename may not outlive a crash then
  std::optional<std::uint64_t> free_bytes;  ///< for this user; empty: unknown
};

/// Tries everything that a run does in its output folder: makes files and folders, writes, flushes, links,
/// locks and renames. Also looks for obstacles to the program's own names, and for the free space. Leaves
/// nothing behind. `option` names the folder in messages. Throws nothing for the problems that it finds.
OutputProbe probe_output_folder(const std::filesystem::path& folder, const std::string& option);

}  // namespace wan::store
