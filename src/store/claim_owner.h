#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "store/claims.h"

namespace wan::store {

// Owner files: what they hold and how they are read. Only the claims use them.

inline constexpr std::string_view owner_prefix = ".owner-";
inline constexpr std::size_t progress_columns = 256;  ///< fixed, so that a line is replaced in place
inline constexpr std::size_t request_columns = 48;

/// The text of a whole owner file.
std::string owner_text(const ClaimOwner& owner);
/// Its first line: the counter has a fixed width, so that a beat rewrites these bytes and nothing else.
std::string counter_text(std::uint64_t count);
std::string progress_line(const nlohmann::json& fields);
std::string request_line(std::string_view request);

/// Nothing if the content is not an owner's: cut short by a crash, or not ours at all.
std::optional<ClaimOwner> parse_owner(std::string_view content);
/// "node7, process 123, job 4711".
std::string describe(std::string_view content);
/// What the owner of a claim makes. It writes that down before it makes the link, and after it has removed
/// the link of its last item: while the link is there, the line is about its item.
std::string request_in(std::string_view content);
/// An owner that is dead and held the claim of `id`, as its file tells.
DeadOwner describe_dead(const ClaimOwner& owner, std::string_view content, const std::string& id,
                        const ClaimOwner& self);

/// The content of a claim; nothing if it is gone. Of a copy of an owner file (store/claim_link.h), which does
/// not beat, it is what the owner file says while that is there.
std::optional<std::string> read_claim(const std::filesystem::path& path);
bool is_there(const std::filesystem::path& path);
/// Whether a file is a claim or an owner file of this program, or one that a crash left empty, and not
/// somebody's own under such a name.
bool is_claim_file(const std::filesystem::path& path);
/// A process that this machine can see to be gone need not be waited for.
bool has_died(const ClaimOwner& owner, const ClaimOwner& self);

}  // namespace wan::store
