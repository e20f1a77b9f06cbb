#pragma once

#include <filesystem>
#include <string>

#include "core/file.h"

namespace wan::checkpoint {

/// What a file is that does not hold what its name says, for a message that goes on from its path: a Git LFS
/// pointer, an HTML or XML page, an empty file, a text or zeros in place of weights, a file of another format
/// of weights; with what to do. Empty if its first bytes are none of these. `expected` is the format that its
/// reader takes: that one is not named.
enum class FileFormat { json, safetensors, torch_archive };
std::string foreign_kind(const UniqueFd& file, const std::filesystem::path& path, FileFormat expected);

/// Throws UsageError for a foreign_kind().
void refuse_foreign_kind(const UniqueFd& file, const std::filesystem::path& path, FileFormat expected);

/// Where a link leads if what it leads to is missing, for a message (" (a link to ..., which is missing)");
/// empty otherwise.
std::string dangling_note(const std::filesystem::path& path);

}  // namespace wan::checkpoint
