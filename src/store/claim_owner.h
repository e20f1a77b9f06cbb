#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "store/claims.h"

namespace wan::store {

// The content of owner files, and how to read it. Only the claims use this header.

inline constexpr std::string_view owner_prefix = ".owner-";
inline constexpr std::size_t progress_columns = 256;  ///< fixed, so that a line can be replaced in place
inline constexpr std::size_t request_columns = 48;

/// The text of a whole owner file.
std::string owner_text(const ClaimOwner& owner);
/// The first line of an owner file. The counter has a fixed width, so that a beat rewrites these bytes and no
/// others.
std::string counter_text(std::uint64_t count);
std::string progress_line(const nlohmann::json& fields);
std::string request_line(std::string_view request);

/// Returns nothing if the content is not an owner's: a crash cut it short, or somebody else wrote it.
std::optional<ClaimOwner> parse_owner(std::string_view content);
/// "node7, process 123, job 4711".
std::string describe(std::string_view content);
/// The request that the owner of the claim on `id` makes. The owner writes this line before it makes the
/// link. So while it holds one item, the line is about that item. While it writes others, the line is about
/// the item that its progress names. Empty if the request is unknown.
std::string request_for(std::string_view content, std::string_view id);
/// Whether an owner that holds the claim of `id` says that it works on it: its progress names the item, or it
/// writes items.
bool is_at_work(std::string_view content, std::string_view id);
/// A dead owner that held the claim of `id`, as its file describes it.
DeadOwner describe_dead(const ClaimOwner& owner, std::string_view content, const std::string& id,
                        const ClaimOwner& self);

/// The content of a claim; nothing if the claim is gone. A copy of an owner file (store/claim_link.h) does
/// not beat: for a copy this is the content of the owner file while that file is there.
std::optional<std::string> read_claim(const std::filesystem::path& path);
/// The token of the owner whose file this claim copies; nothing if the claim is no copy.
std::optional<std::string> copied_token(const std::filesystem::path& path);
bool is_there(const std::filesystem::path& path);
/// Whether a file is a claim or an owner file of this program, or one that a crash left empty. False for
/// somebody else's file of such a name.
bool is_claim_file(const std::filesystem::path& path);
/// Whether this machine can see that the owner's process is gone. Then nobody need wait for its silence.
bool has_died(const ClaimOwner& owner, const ClaimOwner& self);

}  // namespace wan::store
