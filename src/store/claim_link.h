#pragma once

#include <filesystem>
#include <string_view>

namespace wan::store {

/// The result of an attempt to make a claim.
enum class ClaimLink {
  made,
  taken,  ///< a file of that name is there; this very call may have made it, if its answer was lost
};

/// Makes `claim` a hard link to `owner`, the owner file beside it. Some file systems have no hard links
/// (CIFS, exFAT, many FUSE file systems). There `claim` becomes a copy, which only one of many processes can
/// create (O_EXCL). The copy is marked, because a reader must look for the heartbeat in the owner file.
/// Throws Error.
ClaimLink make_claim_link(const std::filesystem::path& owner, const std::filesystem::path& claim);

/// Whether this is the content of a copied claim.
bool is_claim_copy(std::string_view content);

}  // namespace wan::store
