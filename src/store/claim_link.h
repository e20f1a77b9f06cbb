#pragma once

#include <filesystem>
#include <string_view>

namespace wan::store {

/// What became of an attempt to make a claim.
enum class ClaimLink {
  made,
  taken,  ///< something of that name is there, perhaps from this very call, if its answer was lost
};

/// Makes `claim` a hard link to `owner`, the owner file beside it. On a file system without hard links (CIFS,
/// exFAT, many FUSE file systems) `claim` becomes a copy that only one of many processes can create
/// (O_EXCL); the copy is marked, because a reader has to look at the owner file for the heartbeat. Throws
/// Error.
ClaimLink make_claim_link(const std::filesystem::path& owner, const std::filesystem::path& claim);

/// Whether the content of a claim is a copy's.
bool is_claim_copy(std::string_view content);

/// Whether link() with this errno says that there are no hard links here, or no more of this file.
bool means_no_hard_links(int error);

}  // namespace wan::store
