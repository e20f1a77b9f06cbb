#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace wan::store {

/// What a run could and could not do in its output folder.
struct OutputProbe {
  std::filesystem::path nearest;  ///< the folder, or the nearest one above it that is there
  std::string problem;            ///< why a run would fail in it, with the remedy; empty: it would not
  std::string no_links;           ///< why there are no hard links: claims are copies then
  std::string no_locks;           ///< why nothing can be locked: the index of traces is made without
  std::string no_folder_flush;    ///< why folders cannot be flushed: a rename may not outlive a crash
  std::optional<std::uint64_t> free_bytes;  ///< for this user; empty: not known
};

/// Tries everything that a run does in its output folder: make files and folders, write, flush, link, lock,
/// rename; looks for what is in the way of the program's own names; asks for the space. Leaves nothing
/// behind. `option` names the folder in messages. Never throws for what it finds.
OutputProbe probe_output_folder(const std::filesystem::path& folder, const std::string& option);

}  // namespace wan::store
